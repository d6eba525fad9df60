#include "bench/load/load_worker.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bench/load/stop.h"

namespace postern::bench {

namespace {

constexpr base::Duration look_around = std::chrono::milliseconds(100);
constexpr base::Duration rest_after_failure = std::chrono::milliseconds(100);
constexpr base::Duration pace_interval = std::chrono::milliseconds(100);
constexpr base::Duration late = std::chrono::milliseconds(10);
constexpr std::size_t pieces_max = 1024;  // in one send
// More connections that wait for their first greeting would overrun the listener's queue at the
// start, which measures nothing.
constexpr std::size_t newcomers_max = 256;

std::uint64_t ns_between(base::Instant from, base::Instant to) {
    return to > from ? static_cast<std::uint64_t>((to - from).count()) : 0;
}

}  // namespace

LoadConnection::LoadConnection(LoadWorker& worker, unsigned place)
    : worker_(worker),
      place_(place),
      sender_(worker.shared_.options.sender, worker.results_.answers),
      timeout_(&on_timeout, *this),
      pace_(&on_pace, *this) {}

void LoadConnection::start(std::uint64_t number, base::Instant intended) {
    idle_ = false;
    has_message_ = true;
    begun_ = false;
    number_ = number;
    intended_ = intended;
    if (stream_) {
        go_on();
    } else {
        connect();
    }
}

void LoadConnection::prepare() {
    idle_ = false;
    connect();
}

void LoadConnection::finish() {
    if (stream_) {
        idle_ = false;
        quit();
        go_on();
    }
}

void LoadConnection::connect() {
    const LoadOptions& options = worker_.shared_.options;
    stream_.emplace(*worker_.ring_, *this);
    quitting_ = closing_ = failed_ = false;
    done_on_connection_ = 0;
    pieces_.clear();
    pieces_sent_ = 0;
    secure_.reset();
    ++worker_.open_;
    worker_.newcomers_ += newcomer() ? 1 : 0;
    ++worker_.results_.connections;
    worker_.timers_->set(timeout_, worker_.ring_->now() + options.timeout);
    const auto connecting = stream_->connect(
        options.targets[place_ % options.targets.size()],
        options.sources.empty() ? nullptr : &options.sources[place_ % options.sources.size()]);
    if (!connecting.ok()) {
        lost(connecting.error().text);
    }
}

void LoadConnection::on_connected(int error) {
    if (error != 0) {
        lost(std::strerror(error));
        return;
    }
    sender_.connected();
    if (worker_.shared_.options.tls == Tls::implicit) {
        begin_tls();
        go_on();
    }
    stream_->receive(io::BufferGroup::command);
}

void LoadConnection::on_received(base::BlockRef, std::string_view bytes, int error) {
    if (error != 0 || bytes.empty()) {
        lost(error != 0 ? std::strerror(error) : "closed by the peer");
        return;
    }
    if (secure_ && !received_sealed(bytes)) {
        lost("TLS failed");
        return;
    }
    if (!sender_.consume(bytes)) {
        lost("an answer that is none, or to nothing");
        return;
    }
    if (sender_.over()) {
        lost("greeting, EHLO or STARTTLS refused, or CHUNKING not offered");
        return;
    }
    if (!idle_) {
        go_on();
    }
    if (!closing_) {
        stream_->receive(io::BufferGroup::command);
    }
}

void LoadConnection::begin_tls() {
    secure_ = std::make_unique<Secure>(
        *worker_.shared_.tls, Secure::Role::client, std::exchange(ticket_, nullptr));
    std::string_view none;
    received_sealed(none);
}

/// `bytes` become what was said. False: TLS is over.
bool LoadConnection::received_sealed(std::string_view& bytes) {
    const bool was_established = secure_->established();
    plain_.clear();
    const bool good = secure_->receive(bytes, plain_);
    bytes = plain_;
    if (secure_->established() && !was_established) {
        ++worker_.results_.handshakes;
        worker_.results_.resumed += secure_->resumed() ? 1 : 0;
        if (sender_.wants_tls()) {
            sender_.secured();
        }
    }
    return good;
}

/// Sends what may be sent; where there is nothing, what is next.
void LoadConnection::go_on() {
    while (!closing_ && !idle_ && !sending()) {
        out_.clear();
        if (!secure_ || secure_->established()) {
            sender_.produce(out_);
        }
        if (!out_.empty()) {
            out_.pieces(pieces_);
            if (secure_) {
                secure_->send(pieces_);
            }
        }
        if (secure_ && secure_->take_sealed(sealed_)) {
            pieces_.assign(1, {sealed_.data(), sealed_.size()});
            pieces_sent_ = 0;
            send_some();
        } else if (secure_ && !secure_->established()) {
            return;
        } else if (sender_.wants_tls()) {
            begin_tls();
        } else if (!out_.empty()) {
            pieces_sent_ = 0;
            send_some();
        } else if (sender_.finished()) {
            const Sender::Verdict verdict = sender_.verdict();
            message_done(verdict);
            sender_.forget();
            const std::uint64_t most = worker_.shared_.options.messages_per_connection;
            if (most > 0 && ++done_on_connection_ >= most) {
                quit();
            }
        } else if (sender_.ready()) {
            when_ready();
        } else {
            return;
        }
    }
}

void LoadConnection::when_ready() {
    if (newcomer()) {
        greeted_once_ = true;
        --worker_.newcomers_;
    }
    if (has_message_) {
        begin_message();
    } else {
        hand_back();
    }
}

void LoadConnection::begin_message() {
    message_ = worker_.shared_.messages.message(number_, head_);
    sender_.begin(message_, number_);
    begun_ = true;
}

void LoadConnection::quit() {
    quitting_ = true;
    sender_.quit();
}

void LoadConnection::hand_back() {
    timeout_.cancel();
    idle_ = true;
    worker_.free_.push_back(this);
}

void LoadConnection::send_some() {
    const base::Instant now = worker_.ring_->now();
    const std::uint64_t pace = worker_.shared_.options.octets_per_second;
    if (pace == 0) {
        const std::size_t count = std::min(pieces_max, pieces_.size() - pieces_sent_);
        stream_->send(std::span(pieces_).subspan(pieces_sent_, count));
        pieces_sent_ += count;
    } else {
        iovec& piece = pieces_[pieces_sent_];
        slice_ = {
            piece.iov_base,
            std::min<std::size_t>(piece.iov_len, std::max<std::uint64_t>(pace / 10, 1))};
        piece.iov_base = static_cast<char*>(piece.iov_base) + slice_.iov_len;
        piece.iov_len -= slice_.iov_len;
        pieces_sent_ += piece.iov_len == 0 ? 1 : 0;
        stream_->send(std::span(&slice_, 1));
    }
    if (pieces_sent_ == pieces_.size()) {
        content_sent_ = now;
    }
    worker_.timers_->set(timeout_, now + worker_.shared_.options.timeout);
}

void LoadConnection::on_sent(int error) {
    if (error != 0) {
        lost(std::strerror(error));
    } else if (pieces_sent_ < pieces_.size()) {
        if (worker_.shared_.options.octets_per_second > 0) {
            worker_.timers_->set(pace_, worker_.ring_->now() + pace_interval);
        } else {
            send_some();
        }
    } else {
        go_on();
    }
}

void LoadConnection::on_pace(io::Timer& self) {
    static_cast<Deadline&>(self).connection.send_some();
}

void LoadConnection::message_done(Sender::Verdict verdict) {
    LoadResults& results = worker_.results_;
    const base::Instant now = worker_.ring_->now();
    has_message_ = begun_ = false;
    results.last = now;
    results.sent.fates.push_back({number_, verdict});
    switch (verdict) {
        case Sender::Verdict::accepted:
            ++results.accepted;
            results.octets += message_.size();
            results.answer.record(ns_between(content_sent_, now));
            results.message.record(ns_between(intended_, now));
            break;
        case Sender::Verdict::refused:
            ++results.refused;
            return;
        case Sender::Verdict::unknown:
            ++results.unknown;
            break;
        case Sender::Verdict::unsent:
            ++results.unsent;
            return;
    }
    for (const unsigned index : sender_.refused_recipients()) {
        results.sent.refused.push_back({number_, index});
    }
}

/// The connection is of no more use. What became of its message follows from what was sent and
/// answered until now.
void LoadConnection::lost(std::string_view why) {
    if (!quitting_) {
        const auto at = worker_.results_.errors.find(why);
        if (at == worker_.results_.errors.end()) {
            worker_.results_.errors.emplace(why, 1);
        } else {
            ++at->second;
        }
    }
    if (has_message_) {
        message_done(begun_ ? sender_.verdict() : Sender::Verdict::unsent);
    }
    if (idle_) {
        std::erase(worker_.free_, this);
    }
    close(!quitting_);
}

void LoadConnection::on_timeout(io::Timer& self) {
    static_cast<Deadline&>(self).connection.lost("no answer in time");
}

void LoadConnection::close(bool failed) {
    if (closing_) {
        return;
    }
    closing_ = true;
    failed_ = failed;
    if (secure_ && worker_.shared_.options.resume) {
        ticket_ = secure_->take_ticket();
    }
    timeout_.cancel();
    pace_.cancel();
    stream_->close();
}

void LoadConnection::on_closed() {
    worker_.newcomers_ -= newcomer() ? 1 : 0;
    idle_ = true;
    --worker_.open_;
    worker_.closed_.push_back(this);
}

bool LoadWorker::over() const {
    const std::uint64_t messages = shared_.options.messages;
    return stop_requested || ring_->now() >= end_ || (messages > 0 && shared_.taken >= messages);
}

void LoadWorker::start_one(base::Instant intended) {
    const std::uint64_t number = shared_.taken++;
    if (shared_.options.messages > 0 && number >= shared_.options.messages) {
        return;
    }
    LoadConnection* connection = free_.front();
    free_.pop_front();
    results_.first = results_.first == base::Instant() ? intended : results_.first;
    connection->start(number, intended);
}

void LoadWorker::start_messages() {
    while (!free_.empty() && !over() &&
           !(free_.front()->newcomer() && newcomers_ >= newcomers_max)) {
        if (!schedule_) {
            start_one(ring_->now());
        } else if (schedule_->due(ring_->now())) {
            const base::Instant intended = schedule_->take();
            results_.late_starts += ring_->now() - intended > late ? 1 : 0;
            start_one(intended);
        } else {
            return;
        }
    }
}

void LoadWorker::prepare_all() {
    while (!unprepared_.empty() && newcomers_ < newcomers_max) {
        LoadConnection* connection = unprepared_.front();
        unprepared_.pop_front();
        connection->prepare();
    }
}

void LoadWorker::finish_free() {
    while (!free_.empty()) {
        LoadConnection* connection = free_.front();
        free_.pop_front();
        connection->finish();
    }
}

void LoadWorker::turn() {
    base::Instant until = std::min(timers_->next(), ring_->now() + look_around);
    if (schedule_ && !free_.empty()) {
        until = std::min(until, schedule_->next());
    }
    ring_->turn(until);
    timers_->run(ring_->now());
    for (LoadConnection* connection : closed_) {
        connection->forget();
        if (connection->failed()) {
            resting_.push_back({ring_->now() + rest_after_failure, connection});
        } else {
            free_.push_back(connection);
        }
    }
    closed_.clear();
    while (!resting_.empty() && resting_.front().until <= ring_->now()) {
        free_.push_back(resting_.front().connection);
        resting_.pop_front();
    }
}

void LoadWorker::run() {
    const LoadOptions& options = shared_.options;
    auto ring = io::Ring::create({});
    if (!ring.ok()) {
        results_.failure = ring.error().text;
        return;
    }
    ring_ = std::move(*ring);
    timers_.emplace(ring_->now());
    // With an open loop, connections that carry more than one message are made before the first one
    // is due.
    auto& waiting = options.rate > 0 && options.messages_per_connection != 1 ? unprepared_ : free_;
    for (unsigned place = index_; place < options.connections; place += options.workers) {
        connections_.push_back(std::make_unique<LoadConnection>(*this, place));
        waiting.push_back(connections_.back().get());
    }
    while (!stop_requested && (!unprepared_.empty() || newcomers_ > 0)) {
        prepare_all();
        turn();
    }
    const base::Instant start = ring_->now();
    if (options.rate > 0) {
        const double rate = options.rate / options.workers;
        const auto offset = base::Duration(static_cast<std::int64_t>(1e9 / options.rate * index_));
        schedule_.emplace(start + offset, rate);
    }
    if (options.duration) {
        end_ = start + *options.duration;
    }
    while (!over() || open_ > 0) {
        start_messages();
        if (over()) {
            finish_free();
        }
        turn();
    }
    if (schedule_ && options.duration) {
        for (; schedule_->due(std::min(end_, ring_->now())); schedule_->take()) {
            ++results_.not_started;
        }
    }
    // The ring goes on the thread that made it, after all that uses it.
    connections_.clear();
    timers_.reset();
    ring_.reset();
}

}  // namespace postern::bench
