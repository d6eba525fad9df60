#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

/// How many connections each worker has, and who takes one that another has accepted. The kernel
/// shares connections out among the workers' sockets by a hash: with few of them that is uneven,
/// and long ones stay so. Any thread but where said.
namespace postern::shared {

class Doors {
   public:
    /// A worker that takes connections. Called on another worker's thread; must not wait.
    class Taker {
       public:
        virtual void take_over(std::shared_ptr<const void> terms, int descriptor) = 0;

       protected:
        ~Taker() = default;
    };

    explicit Doors(std::uint32_t workers);
    Doors(const Doors&) = delete;
    Doors& operator=(const Doors&) = delete;

    // --- the worker of that door ---
    /// From now on it takes connections, until `close`, behind which none comes any more.
    void open(std::uint32_t worker, Taker& taker);
    void close(std::uint32_t worker);
    /// What it has now. `generation`: of the listeners that it knows.
    void tell(std::uint32_t worker, std::uint32_t connections, std::uint64_t generation);
    /// One that was handed over has arrived.
    void arrived(std::uint32_t worker);

    /// Handed over, and not arrived yet.
    bool awaits(std::uint32_t worker) const {
        return doors_[worker].coming.load(std::memory_order_acquire) != 0;
    }

    // --- a worker that has accepted ---
    /// Gives the connection, and what it is to be served by, to the least busy worker that knows
    /// its listener (or has known it: `generation` or a later one), if that one has clearly fewer
    /// than `connections`, the caller's without this one. False: it stays the caller's, and counts
    /// as such from now on.
    bool hand_over(
        std::uint32_t from,
        std::uint32_t connections,
        std::uint64_t generation,
        std::shared_ptr<const void> terms,
        int descriptor);

   private:
    struct alignas(64) Door {
        std::atomic<std::uint32_t> connections{0};
        std::atomic<std::uint32_t> coming{0};
        std::atomic<std::uint64_t> generation{0};
        std::mutex mutex;
        Taker* taker = nullptr;  // under mutex
    };

    const std::uint32_t workers_;
    std::unique_ptr<Door[]> doors_;
};

}  // namespace postern::shared
