#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/load/histogram.h"
#include "bench/load/load.h"
#include "bench/load/schedule.h"
#include "bench/load/verify.h"
#include "postern/io/stream.h"
#include "postern/io/timer.h"

/// One thread of a load, with its ring, its connections and its own results, which are read when it
/// has ended.
namespace postern::bench {

/// What all workers of a load share. Not changed while they run, but for the count.
struct SharedLoad {
    const LoadOptions& options;
    const MessageSet& messages;
    const TlsContext* tls;                 // null: none
    std::atomic<std::uint64_t> taken = 0;  // message numbers given out
};

struct LoadResults {
    Histogram answer;  // from the last octets of a message, handed to the kernel, to the answer
    Histogram
        message;  // from its (intended) start, with the connection if it needed one, to the answer
    AnswerCounts answers;
    SentLog sent;
    std::map<std::string, std::uint64_t, std::less<>> errors;  // of connections, by what went wrong
    std::uint64_t connections = 0;
    std::uint64_t handshakes = 0, resumed = 0;  // of TLS; the second are some of the first
    std::uint64_t octets = 0;                   // of accepted content
    std::uint64_t late_starts = 0;  // open loop: more than 10 ms behind the intended start
    std::uint64_t not_started = 0;  // open loop: due before the end, and no connection was free
    std::uint64_t accepted = 0, refused = 0, unknown = 0, unsent = 0;
    base::Instant first{}, last{};  // first start, last answer
    std::string failure;            // no ring
};

class LoadWorker;

/// One connection after another, on one place of the load. It is the worker's while free, and comes
/// back when its message is done; it closes by itself.
class LoadConnection final : public io::StreamOwner {
   public:
    LoadConnection(LoadWorker& worker, unsigned place);

    /// Sends message `number`, on a new connection where there is none. REQUIRES: free.
    void start(std::uint64_t number, base::Instant intended);
    /// Connects without a message. REQUIRES: free, not connected.
    void prepare();
    /// Says goodbye, where there is a connection. REQUIRES: free.
    void finish();

    bool newcomer() const { return !greeted_once_; }

    /// It is closed: a new connection may be made.
    void forget() { stream_.reset(); }

    bool failed() const { return failed_; }

   private:
    struct Deadline : io::Timer {
        Deadline(Function on_due, LoadConnection& owner) : Timer(on_due), connection(owner) {}

        LoadConnection& connection;
    };

    void on_connected(int error) override;
    void on_received(base::BlockRef block, std::string_view bytes, int error) override;
    void on_sent(int error) override;
    void on_closed() override;
    static void on_timeout(io::Timer& self);
    static void on_pace(io::Timer& self);

    void connect();
    void begin_tls();
    bool received_sealed(std::string_view& bytes);
    void go_on();
    void when_ready();

    bool sending() const { return stream_->sending() || pieces_sent_ < pieces_.size(); }

    void send_some();
    void begin_message();
    void message_done(Sender::Verdict verdict);
    void quit();
    void hand_back();
    void lost(std::string_view why);
    void close(bool failed);

    LoadWorker& worker_;
    const unsigned place_;
    std::optional<io::Stream> stream_;
    Sender sender_;
    Deadline timeout_;
    Deadline pace_;
    Outgoing out_;
    std::unique_ptr<Secure> secure_;
    TlsTicket ticket_;
    std::string plain_;          // what came through TLS
    std::string sealed_;         // what is sent through it
    std::vector<iovec> pieces_;  // of out_
    std::size_t pieces_sent_ = 0;
    iovec slice_{};  // at a limited pace: what is sent at a time
    std::string head_;
    Message message_;
    std::uint64_t number_ = 0;
    std::uint64_t done_on_connection_ = 0;
    base::Instant intended_{};
    base::Instant content_sent_{};
    bool has_message_ = false;
    bool begun_ = false;  // the sender has it
    bool idle_ = true;    // free
    bool quitting_ = false;
    bool closing_ = false;
    bool failed_ = false;
    bool greeted_once_ = false;
};

class LoadWorker {
   public:
    LoadWorker(SharedLoad& shared, unsigned index) : shared_(shared), index_(index) {}

    /// On its own thread, to the end of the load.
    void run();

    LoadResults& results() { return results_; }

   private:
    friend class LoadConnection;
    bool over() const;
    void start_messages();
    void start_one(base::Instant intended);
    void prepare_all();
    void finish_free();
    void turn();

    SharedLoad& shared_;
    const unsigned index_;
    LoadResults results_;
    std::unique_ptr<io::Ring> ring_;
    std::optional<io::Timers> timers_;
    std::vector<std::unique_ptr<LoadConnection>> connections_;
    std::deque<LoadConnection*> free_;  // connected or not, without a message
    std::deque<LoadConnection*> unprepared_;
    std::vector<LoadConnection*> closed_;

    struct Resting {
        base::Instant until;
        LoadConnection* connection;
    };

    std::deque<Resting> resting_;  // after a failure
    std::optional<Schedule> schedule_;
    base::Instant end_ = base::Instant::max();
    std::size_t open_ = 0;       // connections that are not closed
    std::size_t newcomers_ = 0;  // of these: never greeted
};

}  // namespace postern::bench
