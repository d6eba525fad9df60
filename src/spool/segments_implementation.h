#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "files.h"
#include "kept_access.h"
#include "postern/base/time.h"
#include "postern/io/mailbox.h"
#include "postern/spool/segments.h"
#include "reading.h"

namespace postern::spool {

/// Who hears, on a worker's own thread, that Segments::Implementation::news has something for it.
class Hearer {
   public:
    virtual void on_news() = 0;

   protected:
    ~Hearer() = default;
};

/// What the thread has for a worker.
struct News {
    bool no_segment = false;       // what it waited for can not be had
    bool clear = false;            // a round has begun: see Segment::clearing
    std::vector<Kept*> recovered;  // its own from now on
};

/// Threads: what stands under "the thread" is touched by nobody else; what stands under `lock_` by
/// all, briefly. Segments are handed from the thread to a worker and back: segment.h.
struct Segments::Implementation final : Unheld {
    explicit Implementation(const SegmentsSettings& settings);
    ~Implementation();

    // --- a worker's thread -----------------------------------------------------------------------
    void open_port(std::uint32_t worker, io::Mailbox& mailbox, Hearer& hearer);
    void close_port(std::uint32_t worker);

    bool has_ready(std::uint32_t worker) const {
        return ports_[worker].ready.load(std::memory_order_acquire) != nullptr;
    }

    /// The next segment to write to; null: none yet.
    Segment* take(std::uint32_t worker);
    /// There will be news: one is ready, or none can be had (News::no_segment).
    void await_ready(std::uint32_t worker);
    News news(std::uint32_t worker);
    /// News, soon, in a turn of its own.
    void call_again(std::uint32_t worker);
    /// News within a second or so.
    void call_later(std::uint32_t worker);
    void round_is_over(std::uint32_t worker);
    void report(const std::string& trouble);
    void on_unheld() override;

    // --- any thread ------------------------------------------------------------------------------
    /// No message can be kept: below min_free.
    std::atomic<bool> below_min_free{false};
    /// No file can be made.
    std::atomic<bool> full{false};
    std::atomic<std::uint64_t> min_free;
    std::atomic<std::uint32_t> segment_count{0};
    SpoolState state() const;

    struct DeadLetter {
        std::string name;
        std::string content;
        std::function<void(bool)> done;
    };

    void bury(DeadLetter letter);
    void notify();

    // --- the thread ------------------------------------------------------------------------------
    base::Result<void> open();
    void start();
    bool step();

    const SegmentsSettings settings;
    std::function<void(const std::string&)> on_sentence;

    /// Octets of a segment that only what frees others may use: see Spool.
    std::uint64_t segment_octets() const { return settings.segment_octets; }

    const journal::HostId& host() const { return files_.host(); }

   private:
    struct Port final : io::Letter {
        void deliver() override;
        std::atomic<Segment*> ready{nullptr};
        std::atomic<bool> posted{false};
        // the thread's
        std::uint32_t begun = 0;    // segments since the start
        base::Instant try_again{};  // to make one ready, where that failed
        // under lock_
        io::Mailbox* mailbox = nullptr;
        Hearer* hearer = nullptr;
        bool awaits = false;
        base::Instant awaits_since{};
        bool none = false;
        bool later = false;
        bool clear = false;     // to be told of
        bool clearing = false;  // told of, and not over
        std::vector<Kept*> recovered;
    };

    void run();
    void post(Port& port);  // under lock_
    bool prepare();
    bool prepare_for(std::uint32_t worker);
    void fail(const std::string& trouble);
    void say(const std::string& sentence);
    bool look();
    void look_at_room();
    void look_for_what_to_clear();
    bool read_on();
    bool hand_over();
    bool free_one();
    bool bury_one();
    std::vector<Segment*> by_age();
    void publish();

    Files files_;
    std::unique_ptr<Reading> reading_;
    bool said_buffered_ = false;
    base::Instant next_look_{};
    std::uint64_t looks_ = 0;
    std::deque<Port> ports_;
    std::atomic<bool> some_unheld_{false};

    mutable std::mutex lock_;
    std::condition_variable wake_;
    bool notified_ = false;
    bool stopping_ = false;
    SpoolState state_;
    std::vector<std::string> reported_;
    std::deque<DeadLetter> to_bury_;

    std::thread thread_;
};

}  // namespace postern::spool
