#include "postern/spool/segments.h"

#include <algorithm>
#include <chrono>

#include "postern/base/assert.h"
#include "postern/io/clock.h"
#include "segments_implementation.h"

namespace postern::spool {
namespace {

constexpr base::Duration look_interval = std::chrono::seconds(1);
/// A segment that could not be read to be copied is tried again after so many.
constexpr std::uint64_t looks_until_read_again = 600;
constexpr base::Duration patience = std::chrono::seconds(5);
/// Messages of an earlier life that a worker is given at a time.
constexpr std::size_t recovered_at_once = 500;

/// Does `older` keep `segment` from going? The writer's duty 4 (format.md): nothing of a lower
/// sequence stays that its records are about. A message is one worker's, so that only that one's
/// segments say something of it, and those of an earlier life. One whose header is damaged has no
/// number, and may be the youngest: it waits until nothing is in any other of an earlier life.
bool blocks(const Segment& older, const Segment& segment) {
    if (segment.sequence == 0) {
        return segment.about_oldest != journal::Segment::about_none && older.earlier &&
               (older.held() || older.state == Segment::State::broken);
    }
    return older.sequence >= segment.about_oldest && older.sequence < segment.sequence &&
           (older.earlier || (!segment.earlier && older.worker == segment.worker));
}

}  // namespace

// --- the face ------------------------------------------------------------------------------------

Segments::Segments(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Segments::~Segments() = default;

base::Result<std::unique_ptr<Segments>> Segments::open(const SegmentsSettings& settings) {
    auto implementation = std::make_unique<Implementation>(settings);
    if (base::Result<void> opened = implementation->open(); !opened) {
        return opened.error();
    }
    return std::unique_ptr<Segments>(new Segments(std::move(implementation)));
}

void Segments::set_on_sentence(std::function<void(const std::string&)> say) {
    implementation_->on_sentence = std::move(say);
}

void Segments::start() {
    implementation_->start();
}

bool Segments::step() {
    return implementation_->step();
}

void Segments::set_min_free(std::uint64_t octets) {
    implementation_->min_free = octets;
    implementation_->notify();
}

SpoolState Segments::state() const {
    return implementation_->state();
}

void Segments::bury(std::string name, std::string content, std::function<void(bool saved)> done) {
    implementation_->bury({std::move(name), std::move(content), std::move(done)});
}

// --- the workers' side ---------------------------------------------------------------------------

Segments::Implementation::Implementation(const SegmentsSettings& given)
    : min_free(given.min_free), settings(given), files_(given, *this), ports_(given.workers) {}

Segments::Implementation::~Implementation() {
    if (thread_.joinable()) {
        {
            const std::lock_guard guard(lock_);
            stopping_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    for (Port& port : ports_) {
        for (Kept* kept : port.recovered) {
            Kept::destroy(kept);
        }
    }
}

void Segments::Implementation::open_port(
    std::uint32_t worker, io::Mailbox& mailbox, Hearer& hearer) {
    const std::lock_guard guard(lock_);
    Port& port = ports_[worker];
    POSTERN_ASSERT(port.mailbox == nullptr, "a worker has one spool");
    port.mailbox = &mailbox;
    port.hearer = &hearer;
    if (!port.recovered.empty()) {
        post(port);
    }
}

void Segments::Implementation::close_port(std::uint32_t worker) {
    const std::lock_guard guard(lock_);
    ports_[worker].mailbox = nullptr;
    ports_[worker].hearer = nullptr;
}

Segment* Segments::Implementation::take(std::uint32_t worker) {
    Segment* segment = ports_[worker].ready.exchange(nullptr, std::memory_order_acq_rel);
    if (segment != nullptr) {
        notify();
    }
    return segment;
}

void Segments::Implementation::await_ready(std::uint32_t worker) {
    const base::Instant now = io::monotonic_time();
    {
        const std::lock_guard guard(lock_);
        Port& port = ports_[worker];
        if (has_ready(worker)) {
            post(port);
            return;
        }
        if (!port.awaits) {
            port.awaits = true;
            port.awaits_since = now;
        }
    }
    notify();
}

News Segments::Implementation::news(std::uint32_t worker) {
    News news;
    const std::lock_guard guard(lock_);
    Port& port = ports_[worker];
    news.no_segment = std::exchange(port.none, false);
    news.clear = std::exchange(port.clear, false);
    news.recovered = std::exchange(port.recovered, {});
    if (!news.recovered.empty()) {
        notified_ = true;
        wake_.notify_one();
    }
    return news;
}

void Segments::Implementation::call_again(std::uint32_t worker) {
    const std::lock_guard guard(lock_);
    post(ports_[worker]);
}

void Segments::Implementation::call_later(std::uint32_t worker) {
    const std::lock_guard guard(lock_);
    ports_[worker].later = true;
}

void Segments::Implementation::round_is_over(std::uint32_t worker) {
    const std::lock_guard guard(lock_);
    ports_[worker].clearing = false;
}

void Segments::Implementation::report(const std::string& trouble) {
    {
        const std::lock_guard guard(lock_);
        reported_.push_back(trouble);
    }
    notify();
}

void Segments::Implementation::on_unheld() {
    some_unheld_ = true;
    notify();
}

/// REQUIRES: lock_ is held.
void Segments::Implementation::post(Port& port) {
    if (port.mailbox != nullptr && !port.posted.exchange(true)) {
        port.mailbox->post(port);
    }
}

void Segments::Implementation::Port::deliver() {
    posted = false;
    if (hearer != nullptr) {
        hearer->on_news();
    }
}

// --- any thread ----------------------------------------------------------------------------------

SpoolState Segments::Implementation::state() const {
    const std::lock_guard guard(lock_);
    return state_;
}

void Segments::Implementation::bury(DeadLetter letter) {
    {
        const std::lock_guard guard(lock_);
        to_bury_.push_back(std::move(letter));
    }
    notify();
}

void Segments::Implementation::notify() {
    {
        const std::lock_guard guard(lock_);
        notified_ = true;
    }
    wake_.notify_one();
}

// --- the thread ----------------------------------------------------------------------------------

base::Result<void> Segments::Implementation::open() {
    if (base::Result<void> opened = files_.open(Files::Purpose::write); !opened) {
        return opened;
    }
    const std::string dead = settings.folder + "/dead";
    if (base::Result<void> made = io::make_folder(dead); !made) {
        return made;
    }
    base::Result<std::vector<std::string>> letters = io::list_folder(dead);
    if (!letters) {
        return letters.error();
    }
    state_.dead_letters = letters->size();
    std::vector<Segment*> unread;
    std::vector<std::uint32_t> unused;
    for (Segment& segment : files_.all()) {
        if (segment.state == Segment::State::unread) {
            unread.push_back(&segment);
        } else if (segment.state == Segment::State::dirty) {
            unused.push_back(segment.slot);
        }
    }
    reading_ = std::make_unique<Reading>(
        settings.folder,
        files_.host(),
        std::move(unread),
        std::move(unused),
        [this](const std::string& sentence) { say(sentence); },
        files_.troubles);
    state_.recovering = true;
    look_at_room();
    publish();
    return {};
}

void Segments::Implementation::start() {
    POSTERN_ASSERT(!thread_.joinable(), "the segments have one thread");
    thread_ = std::thread([this] { run(); });
}

void Segments::Implementation::run() {
    while (true) {
        {
            std::unique_lock guard(lock_);
            if (stopping_) {
                return;
            }
            notified_ = false;
        }
        if (!step()) {
            std::unique_lock guard(lock_);
            wake_.wait_for(guard, look_interval, [this] { return notified_ || stopping_; });
        }
    }
}

/// What somebody waits for goes first.
bool Segments::Implementation::step() {
    const bool did = prepare() || look() || free_one() || bury_one() || hand_over() || read_on();
    publish();
    return did;
}

void Segments::Implementation::say(const std::string& sentence) {
    if (on_sentence) {
        on_sentence(sentence);
    }
}

void Segments::Implementation::fail(const std::string& trouble) {
    bool is_new = false;
    {
        const std::lock_guard guard(lock_);
        is_new = state_.trouble != trouble;
        state_.trouble = trouble;
    }
    // A disk that is full says so each second, and once is enough.
    if (is_new) {
        say(trouble);
    }
}

bool Segments::Implementation::prepare() {
    // Who waits, then who would.
    for (const bool waits : {true, false}) {
        for (std::uint32_t worker = 0; worker < ports_.size(); ++worker) {
            Port& port = ports_[worker];
            bool awaits = false;
            {
                const std::lock_guard guard(lock_);
                awaits = port.awaits;
            }
            if (awaits == waits && !has_ready(worker) && prepare_for(worker)) {
                return true;
            }
        }
    }
    return false;
}

/// One step on the way to a segment for that worker; false: there is none to be had now.
bool Segments::Implementation::prepare_for(std::uint32_t worker) {
    Port& port = ports_[worker];
    const base::Instant now = io::monotonic_time();
    if (now >= port.try_again) {
        base::Result<void> went;
        const std::uint64_t octets = files_.octets_behind(port.begun);
        Segment* clean = files_.find(Segment::State::clean, octets);
        if (clean == nullptr) {
            look_at_room();
            const base::Result<Segment*> cleaned = files_.clean(octets, !below_min_free);
            clean = cleaned ? *cleaned : files_.find(Segment::State::clean);
            if (!cleaned) {
                went = cleaned.error();
            }
            if (clean == nullptr || clean->file.octets < octets) {
                // A shorter one is better than none; but who has no use for it would ask again at
                // once.
                port.try_again = now + look_interval;
            }
            if (clean != nullptr && !files_.trouble.empty() && !below_min_free) {
                fail(files_.trouble);
            }
        }
        if (clean != nullptr) {
            went = files_.begin(*clean, worker);
            if (went) {
                full = false;
                ++port.begun;
                port.ready.store(clean, std::memory_order_release);
                const std::lock_guard guard(lock_);
                if (std::exchange(port.awaits, false)) {
                    post(port);
                }
            }
        }
        if (went) {
            if (!files_.direct() && !std::exchange(said_buffered_, true)) {
                say("the file system of " + settings.folder +
                    " refuses O_DIRECT: the spool is written through the page cache, which costs "
                    "more");
            }
            return true;
        }
        fail(went.error().text);
        full = true;
        port.try_again = now + look_interval;
    }
    const std::lock_guard guard(lock_);
    if (port.awaits && now - port.awaits_since >= patience) {
        port.awaits = false;
        port.none = true;
        post(port);
    }
    return false;
}

/// Each second: what changes by itself.
bool Segments::Implementation::look() {
    std::vector<std::string> reported;
    {
        const std::lock_guard guard(lock_);
        reported = std::exchange(reported_, {});
    }
    for (const std::string& trouble : reported) {
        fail(trouble);
    }
    const base::Instant now = io::monotonic_time();
    if (now < next_look_) {
        return false;
    }
    next_look_ = now + look_interval;
    look_at_room();
    if (reading_ == nullptr) {
        look_for_what_to_clear();
    }
    if (++looks_ % looks_until_read_again == 0) {
        for (Segment& segment : files_.all()) {
            segment.unreadable = false;
        }
    }
    some_unheld_ = true;
    if (Segment* broken = files_.find(Segment::State::broken)) {
        if (base::Result<void> ended = files_.end(*broken); !ended) {
            fail(ended.error().text);
        }
    }
    const std::lock_guard guard(lock_);
    for (Port& port : ports_) {
        if (std::exchange(port.later, false)) {
            post(port);
        }
    }
    return true;
}

void Segments::Implementation::look_at_room() {
    const base::Result<std::uint64_t> left = io::free_octets(settings.folder);
    if (!left) {
        fail(left.error().text);
        return;
    }
    // A file that holds nothing is as good as room.
    const std::uint64_t room = *left + files_.unused_octets();
    below_min_free = room < min_free.load();
    const std::lock_guard guard(lock_);
    state_.free_octets = room;
    state_.below_min_free = below_min_free;
}

void Segments::Implementation::publish() {
    segment_count = static_cast<std::uint32_t>(files_.all().size());
    const std::lock_guard guard(lock_);
    state_.segments = segment_count;
    state_.octets = files_.octets();
    state_.direct = files_.direct();
}

bool Segments::Implementation::read_on() {
    if (reading_ == nullptr) {
        return false;
    }
    if (reading_->step()) {
        return true;
    }
    if (!reading_->made.empty()) {
        return false;  // its workers have not taken those before yet
    }
    reading_ = nullptr;
    const std::lock_guard guard(lock_);
    state_.recovering = false;
    return true;
}

/// A bounded number at a time: each costs its worker a piece of a turn.
bool Segments::Implementation::hand_over() {
    if (reading_ == nullptr || reading_->made.empty()) {
        return false;
    }
    std::vector<Kept*>& made = reading_->made;
    const std::lock_guard guard(lock_);
    const bool all_taken = std::all_of(
        ports_.begin(), ports_.end(), [](const Port& port) { return port.recovered.empty(); });
    if (!all_taken) {
        return false;
    }
    const std::size_t count = std::min(made.size(), recovered_at_once * ports_.size());
    for (std::size_t i = made.size() - count; i < made.size(); ++i) {
        // Whoever had it before: all that matters is that one has it.
        const journal::Id id = made[i]->id();
        ports_[(id.high ^ id.low ^ (id.low >> 20)) % ports_.size()].recovered.push_back(made[i]);
    }
    made.resize(made.size() - count);
    state_.recovered += count;
    for (Port& port : ports_) {
        if (!port.recovered.empty()) {
            post(port);
        }
    }
    return true;
}

bool Segments::Implementation::bury_one() {
    DeadLetter letter;
    {
        const std::lock_guard guard(lock_);
        if (to_bury_.empty()) {
            return false;
        }
        letter = std::move(to_bury_.front());
        to_bury_.pop_front();
    }
    const std::string path = settings.folder + "/dead/" + letter.name;
    if (base::Result<void> saved = io::save_file(path, letter.content); !saved) {
        fail(saved.error().text);
        letter.done(false);
        return true;
    }
    {
        const std::lock_guard guard(lock_);
        ++state_.dead_letters;
    }
    letter.done(true);
    return true;
}

/// All that a recovery would find something in, the oldest first; behind them what has no number.
std::vector<Segment*> Segments::Implementation::by_age() {
    std::vector<Segment*> segments;
    for (Segment& segment : files_.all()) {
        const bool counts = segment.state == Segment::State::unread ||
                            segment.state == Segment::State::in_use ||
                            segment.state == Segment::State::broken;
        if (counts) {
            segments.push_back(&segment);
        }
    }
    std::stable_sort(segments.begin(), segments.end(), [](const Segment* a, const Segment* b) {
        return a->sequence - 1 < b->sequence - 1;
    });
    return segments;
}

bool Segments::Implementation::free_one() {
    if (!some_unheld_.exchange(false)) {
        return false;
    }
    const std::vector<Segment*> segments = by_age();
    for (Segment* segment : segments) {
        const bool over =
            segment->state == Segment::State::in_use && segment->sealed && !segment->held();
        if (!over || std::any_of(segments.begin(), segments.end(), [&](const Segment* each) {
                return blocks(*each, *segment);
            })) {
            continue;
        }
        if (base::Result<void> ended = files_.end(*segment); !ended) {
            fail(ended.error().text);
            continue;  // until the next look
        }
        some_unheld_ = true;  // others may go, now that this one has
        return true;
    }
    return false;
}

/// A segment with little left, or one that keeps others from going: it is worth copying what is in
/// it where that frees four times as much.
void Segments::Implementation::look_for_what_to_clear() {
    {
        const std::lock_guard guard(lock_);
        for (const Port& port : ports_) {
            if (port.clear || port.clearing) {
                return;
            }
        }
    }
    const std::vector<Segment*> segments = by_age();
    bool any = false;
    for (Segment* segment : segments) {
        if (segment->state != Segment::State::in_use || !segment->sealed || !segment->held()) {
            continue;
        }
        if (segment->unreadable) {
            segment->clearing = false;
            continue;
        }
        std::uint64_t freed = segment->file.octets;
        for (const Segment* other : segments) {
            if (other->sealed && !other->held() && blocks(*segment, *other)) {
                freed += other->file.octets;
            }
        }
        segment->clearing = segment->aside || segment->live_octets * 4 < freed;
        any = any || segment->clearing;
    }
    if (any) {
        const std::lock_guard guard(lock_);
        for (Port& port : ports_) {
            if (port.mailbox != nullptr) {
                port.clear = port.clearing = true;
                post(port);
            }
        }
    }
}

}  // namespace postern::spool
