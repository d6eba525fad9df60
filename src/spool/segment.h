#pragma once

#include <atomic>
#include <cstdint>

#include "postern/io/file.h"

namespace postern::spool {

/// How a segment that nobody holds on to any more is heard of. Any thread.
class Unheld {
   public:
    virtual void on_unheld() = 0;

   protected:
    ~Unheld() = default;
};

/// A file of the spool, one for each slot, as long as the process. It lives one life after the
/// other: the thread of the segments zeroes it, writes a header, and hands it to a worker; that
/// worker writes to it, alone; when it is sealed nobody does, and the workers whose messages lie in
/// it hold on to it. When nobody does any more the thread zeroes it again.
///
/// Who changes what: what stands first, up to `size`: the thread, while nobody holds it. `used`,
/// `writes`: the worker that writes it. The rest: anybody who holds on to it.
class Segment {
   public:
    enum class State : std::uint8_t {
        unread,      // of an earlier life of the process, and not read yet
        dirty,       // zeros in its first block, anything behind
        clean,       // zeros
        in_use,      // has a header, and what a worker wrote or will write behind it
        left_alone,  // not ours to touch
        broken       // it can not be zeroed
    };

    explicit Segment(Unheld& unheld) : unheld_(unheld) {}

    std::uint32_t slot = 0;
    State state = State::unread;
    std::uint32_t worker = 0;  // whose it is in this life
    bool earlier = false;      // in_use since an earlier life of the process: nobody's
    bool aside = false;        // damaged: it gets another name instead of another life
    io::BlockFile file;
    std::uint64_t epoch = 0;
    std::uint64_t sequence = 0;
    std::uint64_t size = 0;

    std::uint64_t used = 0;    // octets written, the header included
    std::uint32_t writes = 0;  // how many

    /// Nobody writes to it any more.
    std::atomic<bool> sealed{false};
    /// What is in it is to be copied elsewhere.
    std::atomic<bool> clearing{false};
    /// Something in it could not be read to be copied.
    std::atomic<bool> unreadable{false};
    /// The lowest sequence of a segment with a message that one of its records is about.
    std::atomic<std::uint64_t> about_oldest{~std::uint64_t{0}};
    /// Octets of records that count.
    std::atomic<std::uint64_t> live_octets{0};

    void hold(std::uint64_t octets) {
        holders_.fetch_add(1, std::memory_order_relaxed);
        live_octets.fetch_add(octets, std::memory_order_relaxed);
    }

    void release(std::uint64_t octets) {
        live_octets.fetch_sub(octets, std::memory_order_relaxed);
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            unheld_.on_unheld();
        }
    }

    bool held() const { return holders_.load(std::memory_order_acquire) != 0; }

    void note_about(std::uint64_t of) {
        // Only its writer calls this, so nobody else stores in between.
        if (of < about_oldest.load(std::memory_order_relaxed)) {
            about_oldest.store(of, std::memory_order_relaxed);
        }
    }

   private:
    Unheld& unheld_;
    std::atomic<std::uint32_t> holders_{0};
};

}  // namespace postern::spool
