#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "postern/auth/passwords.h"

/// The threads that hash passwords: a hash is made to take a tenth of a second of a core, which no
/// worker has.
namespace postern::auth {

/// Something to be done with a hasher. Owned by who posts it, until `run` has told it otherwise.
class Job {
   public:
    /// On a thread of the checker's, which does nothing else meanwhile. The job may be gone when it
    /// returns.
    virtual void run(Hasher& hasher) = 0;
    virtual ~Job() = default;

   private:
    friend class Checker;
    Job* next_ = nullptr;
};

/// Runs jobs in their order, on a few threads that are made when the first one comes. Made and
/// destroyed by the control thread, behind those that post.
class Checker {
   public:
    /// `waiting_max`: jobs that none of the threads has taken yet.
    Checker(std::size_t threads, std::size_t waiting_max);
    /// What was posted has been run before it returns.
    ~Checker();
    Checker(const Checker&) = delete;
    Checker& operator=(const Checker&) = delete;

    /// False: too many wait already, or there is no thread to be had. Any thread.
    [[nodiscard]] bool post(Job& job);

   private:
    static void* serve(void* self);
    void serve();

    const std::size_t threads_max_;
    const std::size_t waiting_max_;
    std::mutex mutex_;  // for all below; held for a moment
    std::condition_variable asked_;
    std::vector<pthread_t> threads_;
    Job* first_ = nullptr;
    Job* last_ = nullptr;
    std::size_t waiting_ = 0;
    bool stopped_ = false;
};

}  // namespace postern::auth
