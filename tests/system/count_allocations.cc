// Preloaded into `postern` by allocations.py: counts every heap allocation made on a worker's
// thread, by whichever library (malloc and its kin; operator new ends in malloc), and every lock
// that it takes there (mutexes and read-write locks of pthreads, which std::mutex is made of). The
// counts are in a file that the test reads. Workers are told by their thread's name ("worker 0",
// ...).

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

struct Shared {
    std::atomic<std::uint64_t> allocations;
    std::atomic<std::uint64_t> locks;
};

Shared* shared = nullptr;

[[gnu::constructor]] void begin() {
    const char* path = std::getenv("POSTERN_COUNT_ALLOCATIONS");
    const int file = path == nullptr ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        return;
    }
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    shared = memory == MAP_FAILED ? nullptr : static_cast<Shared*>(memory);
    close(file);
}

bool on_worker() {
    char name[16] = {};
    return pthread_getname_np(pthread_self(), name, sizeof name) == 0 &&
           std::strncmp(name, "worker", 6) == 0;
}

void count(std::atomic<std::uint64_t> Shared::*what) {
    if (shared != nullptr && on_worker()) {
        (shared->*what).fetch_add(1, std::memory_order_relaxed);
    }
}

template <class Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// dlsym may itself allocate before the first malloc is known; it gets memory from here, which is
// never freed.
alignas(16) char early[65536];
std::size_t early_used = 0;

void* early_allocate(std::size_t size) {
    const std::size_t at = early_used;
    early_used += (size + 15) & ~std::size_t{15};
    return early_used <= sizeof early ? early + at : nullptr;
}

bool is_early(void* memory) {
    return memory >= early && memory < early + sizeof early;
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
    static void* (*real)(std::size_t) = nullptr;
    static thread_local bool resolving = false;
    if (real == nullptr) {
        if (resolving) {
            return early_allocate(size);
        }
        resolving = true;
        real = next<void* (*)(std::size_t)>("malloc");
        resolving = false;
    }
    count(&Shared::allocations);
    return real(size);
}

void* calloc(std::size_t n, std::size_t size) {
    static void* (*real)(std::size_t, std::size_t) = nullptr;
    static thread_local bool resolving = false;
    if (real == nullptr) {
        if (resolving) {
            return early_allocate(n * size);
        }
        resolving = true;
        real = next<void* (*)(std::size_t, std::size_t)>("calloc");
        resolving = false;
    }
    count(&Shared::allocations);
    return real(n, size);
}

void* realloc(void* memory, std::size_t size) {
    static auto* real = next<void* (*)(void*, std::size_t)>("realloc");
    count(&Shared::allocations);
    if (is_early(memory)) {
        void* fresh = malloc(size);
        std::memcpy(fresh, memory, size);
        return fresh;
    }
    return real(memory, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
    static auto* real = next<void* (*)(std::size_t, std::size_t)>("aligned_alloc");
    count(&Shared::allocations);
    return real(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
    static auto* real = next<int (*)(void**, std::size_t, std::size_t)>("posix_memalign");
    count(&Shared::allocations);
    return real(memory, alignment, size);
}

void free(void* memory) {
    static auto* real = next<void (*)(void*)>("free");
    if (!is_early(memory)) {
        real(memory);
    }
}

int pthread_mutex_lock(pthread_mutex_t* lock) {
    static auto* real = next<int (*)(pthread_mutex_t*)>("pthread_mutex_lock");
    count(&Shared::locks);
    return real(lock);
}

int pthread_mutex_trylock(pthread_mutex_t* lock) {
    static auto* real = next<int (*)(pthread_mutex_t*)>("pthread_mutex_trylock");
    count(&Shared::locks);
    return real(lock);
}

int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
    static auto* real = next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
    count(&Shared::locks);
    return real(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
    static auto* real = next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
    count(&Shared::locks);
    return real(lock);
}

}  // extern "C"

// mimalloc brings an operator new of its own, which does not end in malloc; these come first.
void* operator new(std::size_t size) {
    void* memory = malloc(size);
    if (memory == nullptr) {
        std::abort();
    }
    return memory;
}

void* operator new[](std::size_t size) {
    return operator new(size);
}

void operator delete(void* memory) noexcept {
    free(memory);
}

void operator delete[](void* memory) noexcept {
    free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
    free(memory);
}

void operator delete[](void* memory, std::size_t) noexcept {
    free(memory);
}
