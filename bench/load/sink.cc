#include "bench/load/sink.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include "bench/load/control.h"
#include "bench/load/listening.h"
#include "bench/load/report.h"
#include "bench/load/stop.h"
#include "postern/io/listener.h"
#include "postern/io/stream.h"

namespace postern::bench {

namespace {

constexpr base::Duration look_around = std::chrono::milliseconds(100);  // for a request to stop
constexpr std::size_t output_max = 64 * 1024;  // answers that wait; past it nothing is read
// 16 times 64 KiB stay in the processor's cache while they go round, and what was just received is
// read from there.
constexpr std::uint32_t buffers_offered = 16;
constexpr std::uint64_t ending_octets_max = 1 << 20;

class SinkWorker;

class SinkConnection final : public io::StreamOwner {
   public:
    explicit SinkConnection(SinkWorker& worker);
    void open(int descriptor);

    void close() { stream_->close(); }

    void resume();

    bool active() const { return active_; }

    /// Closed, and may be opened again.
    void forget() { stream_.reset(); }

   private:
    void on_connected(int) override {}

    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    void feed(base::BlockRef block, std::string_view bytes);
    void begin_tls();
    void take_sealed(std::string_view sealed);
    void send_some();
    void go_on();

    SinkWorker& worker_;
    std::optional<io::Stream> stream_;
    Receiver receiver_;
    std::string out_;      // answers to be sent
    std::string sending_;  // answers under way
    base::BlockRef held_;  // what came and waits for the end of a pause: `rest_` lies in it
    std::string_view rest_;
    std::unique_ptr<Secure> secure_;
    std::string plain_;  // what came through TLS
    bool active_ = false;
    bool paused_ = false;
};

class SinkWorker final : public io::ListenerOwner {
   public:
    SinkWorker(const SinkOptions& options, const TlsContext* tls)
        : options_(options), tls_(tls), ledger_(options.store_folder) {}

    /// On its own thread, with a listening descriptor for each address.
    void run(std::vector<int> listeners);

    Ledger& ledger() { return ledger_; }

    const std::string& failure() const { return failure_; }

   private:
    friend class SinkConnection;
    void on_accepted(int descriptor) override;

    void on_accept_paused(int) override {}

    void on_listener_closed() override { --listeners_open_; }

    void turn(base::Instant until);

    const SinkOptions& options_;
    const TlsContext* tls_;  // null: none
    Ledger ledger_;
    std::string failure_;
    std::unique_ptr<io::Ring> ring_;
    std::optional<io::Timers> timers_;
    std::vector<std::unique_ptr<SinkConnection>> connections_;
    std::vector<SinkConnection*> free_;
    std::vector<SinkConnection*> closed_;
    std::multimap<base::Instant, SinkConnection*> paused_;
    std::size_t listeners_open_ = 0;
    std::size_t active_ = 0;
};

SinkConnection::SinkConnection(SinkWorker& worker)
    : worker_(worker), receiver_(worker.options_.receiver, worker.ledger_) {}

void SinkConnection::open(int descriptor) {
    stream_.emplace(*worker_.ring_, *this);
    stream_->adopt(descriptor);
    active_ = true;
    out_.clear();
    secure_.reset();
    {
        const std::lock_guard lock(worker_.ledger_.mutex);
        receiver_.connected(worker_.ring_->random());
    }
    if (worker_.options_.tls == Tls::implicit) {
        begin_tls();
    } else {
        feed({}, {});
    }
}

void SinkConnection::begin_tls() {
    secure_ = std::make_unique<Secure>(*worker_.tls_, Secure::Role::server);
    go_on();
}

void SinkConnection::take_sealed(std::string_view sealed) {
    plain_.clear();
    if (!secure_->receive(sealed, plain_)) {
        stream_->close();
        return;
    }
    if (!secure_->established()) {
        go_on();
        return;
    }
    if (receiver_.wants_tls()) {
        receiver_.secured();
    }
    feed({}, plain_);
}

void SinkConnection::on_received(base::BlockRef block, std::string_view bytes, int error) {
    if (error != 0 || bytes.empty()) {
        stream_->close();
        return;
    }
    if (secure_) {
        take_sealed(bytes);
    } else {
        feed(std::move(block), bytes);
    }
}

void SinkConnection::feed(base::BlockRef block, std::string_view bytes) {
    std::size_t taken = 0;
    {
        const std::lock_guard lock(worker_.ledger_.mutex);
        worker_.ledger_.now_ms =
            static_cast<std::uint64_t>(base::to_ms(worker_.ring_->wall_now().time_since_epoch()));
        taken = receiver_.consume(bytes, out_);
    }
    rest_ = bytes.substr(taken);
    held_ = rest_.empty() ? base::BlockRef() : std::move(block);
    if (receiver_.pause().count() > 0) {
        paused_ = true;
        worker_.paused_.emplace(worker_.ring_->now() + receiver_.pause(), this);
    }
    go_on();
}

void SinkConnection::resume() {
    paused_ = false;
    receiver_.resume(out_);
    feed(std::move(held_), rest_);
}

/// REQUIRES: nothing is being sent.
void SinkConnection::send_some() {
    if (secure_) {
        const iovec piece{out_.data(), out_.size()};
        if (!out_.empty()) {
            secure_->send(std::span(&piece, 1));
        }
        if (!secure_->take_sealed(sending_)) {
            return;
        }
    } else if (out_.empty()) {
        return;
    } else {
        std::swap(out_, sending_);
    }
    out_.clear();
    stream_->send(sending_);
}

/// What can be done now: answers are sent, then the connection is closed if it is over, else read.
void SinkConnection::go_on() {
    if (!stream_->open()) {
        return;
    }
    if (!stream_->sending()) {
        send_some();
    }
    if (paused_) {
        return;
    }
    if (receiver_.wants_tls() && !secure_ && out_.empty()) {
        begin_tls();
        return;
    }
    if (receiver_.over()) {
        if (!stream_->sending() && !stream_->receiving()) {
            stream_->end(ending_octets_max);
        }
    } else if (!stream_->receiving() && out_.size() < output_max) {
        stream_->receive(io::BufferGroup::body);
    }
}

void SinkConnection::on_sent(int error) {
    if (error != 0) {
        stream_->close();
        return;
    }
    go_on();
}

void SinkConnection::on_closed() {
    if (paused_) {
        paused_ = false;
        std::erase_if(worker_.paused_, [this](const auto& entry) { return entry.second == this; });
    }
    held_ = {};
    active_ = false;
    --worker_.active_;
    worker_.closed_.push_back(this);
}

void SinkWorker::on_accepted(int descriptor) {
    if (free_.empty()) {
        connections_.push_back(std::make_unique<SinkConnection>(*this));
        free_.push_back(connections_.back().get());
    }
    SinkConnection* connection = free_.back();
    free_.pop_back();
    ++active_;
    connection->open(descriptor);
}

void SinkWorker::turn(base::Instant until) {
    if (!paused_.empty()) {
        until = std::min(until, paused_.begin()->first);
    }
    ring_->turn(std::min(until, timers_->next()));
    timers_->run(ring_->now());
    while (!paused_.empty() && paused_.begin()->first <= ring_->now()) {
        SinkConnection* connection = paused_.begin()->second;
        paused_.erase(paused_.begin());
        connection->resume();
    }
    for (SinkConnection* connection : closed_) {
        connection->forget();
        free_.push_back(connection);
    }
    closed_.clear();
}

void SinkWorker::run(std::vector<int> descriptors) {
    auto ring = io::Ring::create({.body_buffers_offered = buffers_offered});
    if (!ring.ok()) {
        failure_ = ring.error().text;
        return;
    }
    ring_ = std::move(*ring);
    timers_.emplace(ring_->now());
    std::vector<std::unique_ptr<io::Listener>> listeners;
    for (const int descriptor : descriptors) {
        listeners.push_back(std::make_unique<io::Listener>(*ring_, *timers_, *this));
        listeners.back()->open(descriptor);
        ++listeners_open_;
    }
    while (!stop_requested) {
        turn(ring_->now() + look_around);
    }
    for (auto& listener : listeners) {
        listener->close();
    }
    for (auto& connection : connections_) {
        if (connection->active()) {
            connection->close();
        }
    }
    while (listeners_open_ > 0 || active_ > 0) {
        turn(ring_->now() + look_around);
    }
    // The ring goes on the thread that made it, after all that uses it.
    listeners.clear();
    connections_.clear();
    timers_.reset();
    ring_.reset();
}

nlohmann::ordered_json report_of(std::vector<std::unique_ptr<SinkWorker>>& workers) {
    SinkCounters counters;
    AnswerCounts answers;
    std::map<std::string, Violations> violations;
    for (auto& worker : workers) {
        Ledger& ledger = worker->ledger();
        const std::lock_guard lock(ledger.mutex);
        counters.add(ledger.counters);
        answers.add(ledger.answers);
        for (const auto& [kind, seen] : ledger.violations) {
            Violations& all = violations[kind];
            all.count += seen.count;
            all.example = all.example.empty() ? seen.example : all.example;
        }
    }
    nlohmann::ordered_json report = to_json(counters);
    report["answers"] = to_json(answers);
    report["violations"] = nlohmann::ordered_json::object();
    for (const auto& [kind, seen] : violations) {
        report["violations"][kind] = {{"count", seen.count}, {"example", seen.example}};
    }
    return report;
}

std::vector<std::uint64_t> deliveries_of(
    std::vector<std::unique_ptr<SinkWorker>>& workers, std::uint32_t run) {
    std::vector<std::uint64_t> all;
    for (auto& worker : workers) {
        const std::lock_guard lock(worker->ledger().mutex);
        const auto some = worker->ledger().deliveries.of_run(run);
        all.insert(all.end(), some.begin(), some.end());
    }
    return all;
}

std::uint64_t messages_of(std::vector<std::unique_ptr<SinkWorker>>& workers) {
    std::uint64_t count = 0;
    for (auto& worker : workers) {
        const std::lock_guard lock(worker->ledger().mutex);
        count += worker->ledger().counters.messages;
    }
    return count;
}

/// A listening socket of each address for each worker. Port 0 becomes one free port for all of
/// them.
base::Result<std::vector<std::vector<int>>> open_listeners(SinkOptions& options) {
    std::vector<std::vector<int>> by_worker(options.workers);
    for (io::Address& address : options.listen) {
        for (auto& descriptors : by_worker) {
            const auto listener = listen_at(address);
            if (!listener.ok()) {
                return listener.error();
            }
            descriptors.push_back(*listener);
        }
    }
    return by_worker;
}

}  // namespace

int run_sink(SinkOptions options) {
    stop_on_signals();
    if (!options.store_folder.empty()) {
        ::mkdir(options.store_folder.c_str(), 0755);
    }
    std::optional<TlsContext> tls;
    if (options.tls != Tls::none) {
        auto made = TlsContext::server(options.chain, options.key);
        if (!made.ok()) {
            fmt::print(stderr, "postern-bench sink: {}\n", made.error().text);
            return 1;
        }
        tls = std::move(*made);
    }
    options.receiver.starttls = options.tls == Tls::starttls;
    auto listeners = open_listeners(options);
    if (!listeners.ok()) {
        fmt::print(stderr, "postern-bench sink: {}\n", listeners.error().text);
        return 1;
    }
    int control = -1;
    if (options.control) {
        const auto opened = listen_for_control(*options.control);
        if (!opened.ok()) {
            fmt::print(stderr, "postern-bench sink: {}\n", opened.error().text);
            return 1;
        }
        control = *opened;
    }
    std::vector<std::unique_ptr<SinkWorker>> workers;
    std::vector<std::thread> threads;
    std::atomic<unsigned> running = options.workers;
    for (unsigned i = 0; i < options.workers; ++i) {
        workers.push_back(std::make_unique<SinkWorker>(options, tls ? &*tls : nullptr));
    }
    for (unsigned i = 0; i < options.workers; ++i) {
        threads.emplace_back([&worker = *workers[i], &running, own = (*listeners)[i]] {
            worker.run(own);
            --running;
        });
    }
    for (const io::Address& address : options.listen) {
        fmt::print("listening on {}\n", address.text());
    }
    if (control >= 0) {
        fmt::print("control on {}\n", options.control->text());
    }
    std::fflush(stdout);
    const ControlHandlers handlers{
        [&workers] { return report_of(workers); },
        [&workers](std::uint32_t run) { return deliveries_of(workers, run); }};
    static constexpr int wait_ms = 50;
    while (!stop_requested && running > 0 &&
           (options.count == 0 || messages_of(workers) < options.count)) {
        if (control >= 0) {
            serve_control(control, wait_ms, handlers);
        } else {
            std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
        }
    }
    stop_requested = true;
    int code = 0;
    for (unsigned i = 0; i < options.workers; ++i) {
        threads[i].join();
        if (!workers[i]->failure().empty()) {
            fmt::print(stderr, "postern-bench sink: {}\n", workers[i]->failure());
            code = 1;
        }
    }
    if (control >= 0) {
        ::close(control);
    }
    const nlohmann::ordered_json report = report_of(workers);
    fmt::print("{}", options.json ? report.dump(2) + "\n" : to_text(report));
    return report["violations"].empty() ? code : 1;
}

}  // namespace postern::bench
