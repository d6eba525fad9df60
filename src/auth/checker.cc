#include "postern/auth/checker.h"

#include <utility>

namespace postern::auth {

Checker::Checker(std::size_t threads, std::size_t waiting_max)
    : threads_max_(threads), waiting_max_(waiting_max) {}

Checker::~Checker() {
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        asked_.notify_all();
    }
    for (const pthread_t thread : threads_) {
        pthread_join(thread, nullptr);
    }
}

bool Checker::post(Job& job) {
    const std::lock_guard lock(mutex_);
    while (threads_.size() < threads_max_) {
        pthread_t thread{};
        if (pthread_create(&thread, nullptr, serve, this) != 0) {
            break;  // those that there are do
        }
        pthread_setname_np(thread, "passwords");
        threads_.push_back(thread);
    }
    if (waiting_ == waiting_max_ || threads_.empty()) {
        return false;
    }
    (first_ == nullptr ? first_ : last_->next_) = &job;
    last_ = &job;
    job.next_ = nullptr;
    ++waiting_;
    asked_.notify_one();
    return true;
}

void* Checker::serve(void* self) {
    static_cast<Checker*>(self)->serve();
    return nullptr;
}

void Checker::serve() {
    Hasher hasher;
    std::unique_lock lock(mutex_);
    for (;;) {
        asked_.wait(lock, [this] { return stopped_ || first_ != nullptr; });
        if (first_ == nullptr) {
            return;
        }
        Job& job = *std::exchange(first_, first_->next_);
        --waiting_;
        lock.unlock();
        job.run(hasher);
        lock.lock();
    }
}

}  // namespace postern::auth
