#include "admin_pages.h"

#include <httplib.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "postern/io/address.h"

namespace postern::app {
namespace {

constexpr std::string_view end_of_headers = "\r\n\r\n";

/// What httplib reads from and writes to.
class Exchange final : public httplib::Stream {
   public:
    explicit Exchange(std::string_view request) : request_(request) {}

    bool is_readable() const override { return !request_.empty(); }

    bool is_writable() const override { return true; }

    ssize_t read(char* into, std::size_t size) override {
        const std::size_t count = std::min(size, request_.size());
        if (count == 0) {
            return -1;  // not 0, which httplib would try again
        }
        std::memcpy(into, request_.data(), count);
        request_.remove_prefix(count);
        return static_cast<ssize_t>(count);
    }

    ssize_t write(const char* from, std::size_t size) override {
        answer.append(from, size);
        return static_cast<ssize_t>(size);
    }

    void get_remote_ip_and_port(std::string& ip, int& port) const override {
        ip.clear();
        port = 0;
    }

    void get_local_ip_and_port(std::string& ip, int& port) const override {
        ip.clear();
        port = 0;
    }

    socket_t socket() const override { return -1; }

    std::string answer;

   private:
    std::string_view request_;
};

/// Calls `found` with each header line's place in `request`, and its text. A line ends in LF, as it
/// does for httplib.
template <class Found>
void for_each_header(std::string_view request, Found found) {
    const std::string_view headers = request.substr(0, request.find(end_of_headers));
    for (std::size_t at = headers.find('\n'); at != std::string_view::npos;) {
        const std::size_t next = headers.find('\n', at + 1);
        found(at + 1, headers.substr(at + 1, next - at - 1));
        at = next;
    }
}

bool is_header(std::string_view line, std::string_view name_and_colon) {
    return line.size() >= name_and_colon.size() &&
           ::strncasecmp(line.data(), name_and_colon.data(), name_and_colon.size()) == 0;
}

/// Without what httplib would do more for than the request is worth: each of thousands of ranges
/// repeats a page, and a body of 16 KiB unpacks to many MiB. Such headers get another name.
std::string without_amplifiers(std::string_view request) {
    std::string plain(request);
    for_each_header(request, [&plain](std::size_t at, std::string_view line) {
        if (is_header(line, "range:") || is_header(line, "content-encoding:")) {
            plain[at] = 'X';
        }
    });
    return plain;
}

// --- permission ----------------------------------------------------------------------------------

/// In a time that does not tell how much of it was right.
bool same(std::string_view shown, std::string_view token) {
    unsigned different = shown.size() == token.size() ? 0 : 1;
    for (std::size_t i = 0; i < shown.size() && !token.empty(); ++i) {
        different |= static_cast<unsigned char>(shown[i] ^ token[i % token.size()]);
    }
    return different == 0;
}

bool open_to_all(const httplib::Request& request) {
    return (request.method == "GET" || request.method == "HEAD") &&
           (request.path == "/metrics" || request.path == "/health" || request.path == "/ready");
}

/// A browser says with these that a page asks, which may be anybody's.
bool of_a_page(const httplib::Request& request) {
    if (request.has_header("Origin")) {
        return true;
    }
    const std::string site = request.get_header_value("Sec-Fetch-Site");
    return !site.empty() && site != "none";
}

/// Whether a server at a loopback address may be called by that name. A page whose own name
/// resolves to 127.0.0.1 (DNS rebinding) makes the browser speak to us as that name's server.
bool is_local_name(std::string_view host) {
    if (!host.starts_with('[')) {
        host = host.substr(0, host.find(':'));
    } else if (const std::size_t end = host.find(']'); end != std::string_view::npos) {
        host = host.substr(1, end - 1);
    }
    constexpr std::string_view localhost = "localhost";
    const bool is_localhost =
        host.size() == localhost.size() &&
        std::equal(host.begin(), host.end(), localhost.begin(), [](char a, char b) {
            return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b;
        });
    return host.empty() || is_localhost || io::Address::parse(host, 0).has_value();
}

bool is_loopback(const config::Endpoint& endpoint) {
    const auto address = io::Address::parse(endpoint.host, endpoint.port);
    if (!address) {
        return false;
    }
    const std::string_view octets = address->host_octets();
    constexpr std::string_view v6_loopback("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    return octets.size() == 4 ? octets[0] == 127 : octets == v6_loopback;
}

bool flag(const httplib::Request& request, const char* name) {
    return request.has_param(name) && request.get_param_value(name) != "0";
}

}  // namespace

std::optional<std::size_t> admin_request_octets(std::string_view begun) {
    const std::size_t end = begun.find(end_of_headers);
    if (end == std::string_view::npos) {
        return begun.size() < admin_request_octets_max
                   ? std::nullopt
                   : std::optional<std::size_t>(admin_request_octets_max);
    }
    std::size_t body = 0;
    for_each_header(begun, [&body](std::size_t, std::string_view line) {
        constexpr std::string_view name = "content-length:";
        if (is_header(line, name)) {
            line.remove_prefix(name.size());
            line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
            // What is no number is httplib's to refuse, with what is here.
            std::from_chars(line.data(), line.data() + line.size(), body);
        }
    });
    const std::size_t whole = end + end_of_headers.size();
    return whole >= admin_request_octets_max
               ? admin_request_octets_max
               : whole + std::min(body, admin_request_octets_max - whole);
}

class AdminPages::Server final : public httplib::Server {
   public:
    Server(const config::AdminAddress& address, AdminAnswers answers)
        : unix_(!address.socket.empty()),
          loopback_(!unix_ && is_loopback(address.endpoint)),
          answers_(std::move(answers)) {
        set_payload_max_length(admin_request_octets_max);
        // For browsers: what is text stays text, and no other site's page may embed it.
        set_default_headers(
            {{"X-Content-Type-Options", "nosniff"},
             {"Cross-Origin-Resource-Policy", "same-origin"},
             {"Cache-Control", "no-store"}});
        set_pre_routing_handler(
            [this](const auto& request, auto& response) { return permit(request, response); });
        set_exception_handler(
            [](const auto&, auto& response, const std::exception_ptr&) { response.status = 500; });
        const auto get = [this](const char* path, const std::function<AdminAnswer()>& answer) {
            Get(path, [&answer](const auto&, auto& response) { say(response, answer()); });
        };
        get("/metrics", answers_.metrics);
        get("/health", answers_.health);
        get("/ready", answers_.ready);
        Get("/route", [this](const httplib::Request& request, httplib::Response& response) {
            std::vector<std::string> addresses;
            for (std::size_t i = 0; i < request.get_param_value_count("address"); ++i) {
                addresses.push_back(request.get_param_value("address", i));
            }
            say(response,
                answers_.route(addresses, request.get_param_value("from"), flag(request, "json")));
        });
        Post("/reload", [this](const httplib::Request& request, httplib::Response& response) {
            say(response, answers_.reload(flag(request, "dry_run"), flag(request, "force")));
        });
        const auto queue = [this](shard::QueueChange change) {
            return [this, change](const httplib::Request& request, httplib::Response& response) {
                say(response, answers_.queue(change, request.params));
            };
        };
        Get("/queue", queue(shard::QueueChange::none));
        Post("/queue/retry", queue(shard::QueueChange::retry));
        Post("/queue/hold", queue(shard::QueueChange::hold));
        Post("/queue/release", queue(shard::QueueChange::release));
        Post("/queue/remove", queue(shard::QueueChange::remove));
    }

    std::string answer(std::string_view request) {
        const std::string plain = without_amplifiers(request);
        Exchange exchange(plain);
        bool closed = false;
        process_request(exchange, true, closed, nullptr);
        return std::move(exchange.answer);
    }

   private:
    HandlerResponse permit(const httplib::Request& request, httplib::Response& response) const {
        if (unix_) {  // the file's mode says who
            return HandlerResponse::Unhandled;
        }
        const auto refuse = [&response](const char* why) {
            say(response, {403, "text/plain", why});
            return HandlerResponse::Handled;
        };
        if (loopback_ && !is_local_name(request.get_header_value("Host"))) {
            return refuse(
                "at a loopback address this is served as localhost or by the address only: another "
                "name is a web page's that pretends to be us\n");
        }
        if (open_to_all(request)) {
            return HandlerResponse::Unhandled;
        }
        if (of_a_page(request)) {
            return refuse("this is not for web pages\n");
        }
        const std::string token = answers_.token();
        if (token.empty()) {
            return refuse(
                "over TCP only GET /metrics, /health and /ready are served; set admin.token, or "
                "use a unix: address, for more\n");
        }
        if (!same(request.get_header_value("Authorization"), "Bearer " + token)) {
            return refuse(
                "this needs the header Authorization: Bearer TOKEN, with that of admin.token\n");
        }
        return HandlerResponse::Unhandled;
    }

    static void say(httplib::Response& response, const AdminAnswer& answer) {
        response.status = answer.status;
        response.set_content(answer.body, answer.type.c_str());
    }

    const bool unix_;
    const bool loopback_;
    const AdminAnswers answers_;
};

AdminPages::AdminPages(const config::AdminAddress& address, AdminAnswers answers)
    : server_(std::make_unique<Server>(address, std::move(answers))) {}

AdminPages::~AdminPages() = default;

std::string AdminPages::answer(std::string_view request) const {
    return server_->answer(request);
}

}  // namespace postern::app
