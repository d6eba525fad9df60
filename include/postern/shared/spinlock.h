#pragma once

#include <atomic>

namespace postern::shared {

/// For a few instructions on memory that workers share; never held across anything that can wait.
/// Each worker has a core of its own, so who holds it is running.
class Spinlock {
   public:
    void lock() {
        while (held_.exchange(true, std::memory_order_acquire)) {
            while (held_.load(std::memory_order_relaxed)) {
                __builtin_ia32_pause();
            }
        }
    }

    void unlock() { held_.store(false, std::memory_order_release); }

   private:
    std::atomic<bool> held_{false};
};

}  // namespace postern::shared
