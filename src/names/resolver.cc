#include "postern/names/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "book.h"

namespace postern::names {
namespace {

/// Queries in flight at a time; more wait their turn. So many fit into a socket's buffers.
constexpr std::size_t queries_max = 64;

/// How often the hosts file is read again; it is on a disk near by.
constexpr std::uint32_t hosts_file_ttl_s = 10;

struct HostEntryEnd {
    void operator()(hostent* entry) const { ares_free_hostent(entry); }
};

struct ChannelEnd {
    void operator()(ares_channel channel) const { ares_destroy(channel); }
};

using Channel = std::unique_ptr<ares_channeldata, ChannelEnd>;

std::optional<base::Instant> earlier(
    std::optional<base::Instant> a, std::optional<base::Instant> b) {
    return a && b ? std::min(*a, *b) : a ? a : b;
}

}  // namespace

struct Resolver::Implementation {
    Implementation(const Options& with, Clock now, Listener hears)
        : options(with), clock(now), listener(std::move(hears)) {}

    Implementation(const Implementation&) = delete;
    Implementation& operator=(const Implementation&) = delete;

    ~Implementation() {
        channel.reset();
        ares_library_cleanup();
        close(wake);
    }

    /// One query that c-ares works on.
    struct Flight {
        Implementation& resolver;
        Book::Query query;
    };

    base::Result<void> open() {
        ares_library_init(ARES_LIB_INIT_ALL);
        wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake < 0) {
            return base::Error{
                fmt::format("the resolver's eventfd could not be made: {}", std::strerror(errno))};
        }
        servers_changed();
        return open_channel();
    }

    /// A new channel in the place of the one before, if it can be made. REQUIRES: no query is in
    /// flight, or they are asked again.
    base::Result<void> open_channel() {
        ares_options settings{};
        // Names are whole: no search domains, no aliases from the environment.
        settings.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
        settings.timeout = static_cast<int>(base::to_ms(options.timeout));
        settings.tries = options.tries;
        settings.sock_state_cb = watch_socket;
        settings.sock_state_cb_data = this;
        ares_channel made = nullptr;
        int status = ares_init_options(
            &made,
            &settings,
            ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
        Channel fresh(status == ARES_SUCCESS ? made : nullptr);
        if (status == ARES_SUCCESS && !options.servers.empty()) {
            status = ares_set_servers_ports_csv(made, options.servers.c_str());
        }
        if (status != ARES_SUCCESS) {
            return base::Error{fmt::format(
                "the resolver could not be set up with {}: {}",
                options.servers.empty() ? "the system's resolv.conf"
                                        : "the servers " + options.servers,
                ares_strerror(status))};
        }
        channel = std::move(fresh);
        return {};
    }

    /// Whether the system's name servers may be others than when it was last asked.
    bool servers_changed() {
        struct stat status {};

        ::stat("/etc/resolv.conf", &status);  // all zeros: there is none
        const FileState now{
            static_cast<std::int64_t>(status.st_ino),
            status.st_size,
            status.st_mtim.tv_sec,
            status.st_mtim.tv_nsec};
        return std::exchange(servers_file, now) != now;
    }

    void run() {
        pthread_setname_np(pthread_self(), "names");
        if (options.on_thread != nullptr) {
            options.on_thread();
        }
        while (take_orders()) {
            ask();
            for (const Book::Change& change : book.take_changes()) {
                listener(change.question, change.answer);
            }
            await();
        }
    }

    /// False: it is over.
    bool take_orders() {
        std::vector<std::vector<Question>> orders;
        {
            const std::lock_guard lock(mutex);
            if (over) {
                return false;
            }
            orders.swap(wanted);
        }
        // What is in flight would be asked again: orders may come faster than answers.
        if (!orders.empty() && servers_changed() && open_channel()) {
            book.ask_again(clock());
        }
        // Each of them: a question that went and came again is a new one, and answered as such.
        for (const std::vector<Question>& questions : orders) {
            book.watch(questions, clock());
        }
        return true;
    }

    void ask() {
        while (in_flight < queries_max) {
            const std::optional<Book::Query> query = book.next(clock());
            if (!query) {
                return;
            }
            if (const std::optional<Reply> reply = look_into_hosts_file(*query)) {
                book.answered(*query, *reply, clock());
                continue;
            }
            ++in_flight;
            ares_query(
                channel.get(),
                query->name.c_str(),
                ns_c_in,
                static_cast<int>(query->type),
                landed,
                new Flight{*this, *query});
        }
    }

    /// nullopt: the hosts file does not have the name. A name that is there has the addresses that
    /// stand there, and no others.
    std::optional<Reply> look_into_hosts_file(const Book::Query& query) {
        if (query.type == RecordType::mx) {
            return std::nullopt;
        }
        Reply reply;
        reply.kind = Reply::Kind::no_records;
        reply.ttl_s = hosts_file_ttl_s;
        bool found = false;
        for (const int family : {AF_INET, AF_INET6}) {
            hostent* entry = nullptr;
            if (ares_gethostbyname_file(channel.get(), query.name.c_str(), family, &entry) !=
                ARES_SUCCESS) {
                continue;
            }
            const std::unique_ptr<hostent, HostEntryEnd> kept(entry);
            found = true;
            for (char** address = entry->h_addr_list;
                 *address != nullptr &&
                 family == (query.type == RecordType::a ? AF_INET : AF_INET6);
                 ++address) {
                reply.kind = Reply::Kind::records;
                reply.addresses.push_back(
                    base::IpAddress::from({*address, static_cast<std::size_t>(entry->h_length)}));
            }
        }
        put_in_order(reply.addresses);
        return found ? std::optional(reply) : std::nullopt;
    }

    /// Until a server answers, a query times out or is due, or there is an order.
    void await() {
        std::vector<pollfd> sockets{{wake, POLLIN, 0}};
        for (const auto& [socket, events] : watched) {
            sockets.push_back({socket, events, 0});
        }
        std::optional<base::Instant> until;
        const base::Instant now = clock();
        timeval left{};
        if (ares_timeout(channel.get(), nullptr, &left) != nullptr) {
            until =
                now + std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
        }
        if (in_flight < queries_max) {
            until = earlier(until, book.next_due());
        }
        int wait_ms = -1;
        if (until) {
            // Rounded up: woken early, it would turn without pause.
            const auto wait = std::clamp<base::Duration>(
                *until - now + std::chrono::microseconds(999), {}, std::chrono::hours(1));
            wait_ms = static_cast<int>(base::to_ms(wait));
        }
        if (poll(sockets.data(), sockets.size(), wait_ms) < 0) {
            POSTERN_ASSERT(errno == EINTR, "the resolver waits for its own sockets");
            return;
        }
        std::uint64_t count = 0;
        if (sockets.front().revents != 0 && read(wake, &count, sizeof count) < 0) {
            POSTERN_ASSERT(errno == EAGAIN || errno == EINTR, "an eventfd can be read");
        }
        for (std::size_t i = 1; i < sockets.size(); ++i) {
            const auto [socket, events, ready] = sockets[i];
            if (ready != 0) {
                const bool broken = (ready & (POLLERR | POLLHUP | POLLNVAL)) != 0;
                ares_process_fd(
                    channel.get(),
                    broken || (ready & POLLIN) != 0 ? socket : ARES_SOCKET_BAD,
                    (ready & POLLOUT) != 0 ? socket : ARES_SOCKET_BAD);
            }
        }
        ares_process_fd(channel.get(), ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what has timed out
    }

    static void watch_socket(void* data, ares_socket_t socket, int readable, int writable) {
        auto& watched = static_cast<Implementation*>(data)->watched;
        if (readable == 0 && writable == 0) {
            watched.erase(socket);
        } else {
            watched[socket] =
                static_cast<short>((readable != 0 ? POLLIN : 0) | (writable != 0 ? POLLOUT : 0));
        }
    }

    /// c-ares' callback; it may come from inside ares_query.
    static void landed(void* data, int status, int, unsigned char* octets, int size) {
        const std::unique_ptr<Flight> flight(static_cast<Flight*>(data));
        Implementation& self = flight->resolver;
        --self.in_flight;
        if (status == ARES_EDESTRUCTION) {
            return;
        }
        Reply reply;
        // With these the DNS has spoken; what it said is in the octets, TTL and all.
        if (octets != nullptr &&
            (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND)) {
            reply = parse_reply(
                {reinterpret_cast<const char*>(octets), static_cast<std::size_t>(size)},
                flight->query.name,
                flight->query.type);
        } else {
            reply.why = ares_strerror(status);
        }
        self.book.answered(flight->query, reply, self.clock());
    }

    void order(const std::function<void()>& write_down) {
        {
            const std::lock_guard lock(mutex);
            write_down();
        }
        const std::uint64_t one = 1;
        const ssize_t written = write(wake, &one, sizeof one);
        POSTERN_ASSERT(written == sizeof one, "an eventfd takes one more");
    }

    const Options options;
    const Clock clock;
    const Listener listener;
    int wake = -1;

    std::mutex mutex;  // for the two below
    std::vector<std::vector<Question>> wanted;
    bool over = false;

    // The resolver's thread alone; behind what the channel's end calls back to.
    std::map<ares_socket_t, short> watched;  // c-ares' sockets, and the events that it waits for
    Book book;
    std::size_t in_flight = 0;
    Channel channel;

    using FileState = std::array<std::int64_t, 4>;
    FileState servers_file{};

    std::thread thread;
};

base::Result<std::unique_ptr<Resolver>> Resolver::start(
    const Options& options, Clock clock, Listener listener) {
    auto implementation = std::make_unique<Implementation>(options, clock, std::move(listener));
    const base::Result<void> opened = implementation->open();
    if (!opened) {
        return opened.error();
    }
    Implementation& self = *implementation;
    self.thread = std::thread([&self] { self.run(); });
    return std::unique_ptr<Resolver>(new Resolver(std::move(implementation)));
}

Resolver::Resolver(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Resolver::~Resolver() {
    implementation_->order([this] { implementation_->over = true; });
    implementation_->thread.join();
}

void Resolver::watch(std::vector<Question> questions) {
    implementation_->order([&] { implementation_->wanted.push_back(std::move(questions)); });
}

}  // namespace postern::names
