#include "ask.h"

#include <httplib.h>
#include <sys/socket.h>

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "commands.h"
#include "postern/base/result.h"
#include "postern/config/parse.h"
#include "postern/io/address.h"
#include "say.h"

namespace postern::app {
namespace {

constexpr int unix_port = 1;  // httplib wants one, and does not use it
constexpr std::string_view unix_prefix = "unix:";
constexpr time_t connect_time_max_s = 10;
constexpr time_t answer_time_max_s = 600;  // a reload of very many rules takes its time

bool is_unix(const config::Admin& admin) {
    return !admin.address.socket.empty();
}

}  // namespace

base::Result<config::Admin> admin_of(const std::string& given, const std::string& config_file) {
    // Where we may not even look, load() says why; who names an address needs no file.
    std::error_code unknown;
    const bool exists = std::filesystem::exists(config_file, unknown);
    // Who names a file that is missing would reach another Postern, at the default address.
    const bool misnamed = !exists && !unknown && config_file != default_config_file;
    const bool there = exists || misnamed || (unknown && given.empty());
    const config::Parsed parsed = there ? config::load(config_file, "localhost")
                                        : config::parse("", config_file, "localhost");
    config::Admin admin;
    if (parsed.config) {
        admin = parsed.config->admin;
    } else if (parsed.flawed) {  // other keys may be wrong
        admin = parsed.flawed->admin;
    } else if (given.empty() || misnamed) {
        return base::Error{parsed.errors.front().format()};
    }
    if (given.empty()) {
        return admin;
    }
    admin.address = {};
    if (given.starts_with(unix_prefix)) {
        admin.address.socket = given.substr(unix_prefix.size());
    } else if (const auto address = io::Address::parse(given); address) {
        admin.address.endpoint = {address->host_text(), address->port(), true};
    } else {
        return base::Error{fmt::format(
            "--admin {} is no admin address; allowed: unix:PATH, or an address and a port", given)};
    }
    return admin;
}

std::string name_of(const config::Admin& admin) {
    return is_unix(admin)
               ? admin.address.socket.string()
               : fmt::format("{}:{}", admin.address.endpoint.host, admin.address.endpoint.port);
}

Reply ask(const config::Admin& admin, const std::string& method, const std::string& target) {
    httplib::Client client(
        is_unix(admin) ? admin.address.socket.string() : admin.address.endpoint.host,
        is_unix(admin) ? unix_port : admin.address.endpoint.port);
    if (is_unix(admin)) {
        client.set_address_family(AF_UNIX);
    }
    client.set_connection_timeout(connect_time_max_s);
    client.set_read_timeout(answer_time_max_s);
    httplib::Request request;
    request.method = method;
    request.path = target;
    request.set_header("Host", "localhost");
    if (!admin.token.empty()) {
        request.set_header("Authorization", "Bearer " + admin.token);
    }
    const httplib::Result result = client.send(request);
    return result ? Reply{result->status, result->body} : Reply{};
}

int print_reply(const config::Admin& admin, const Reply& reply) {
    if (reply.status == 0) {
        say(stderr,
            "postern: nobody answers at {}; is Postern running there? --admin or -c says where\n",
            name_of(admin));
        return 2;
    }
    const bool good = reply.status / 100 == 2;
    say(good ? stdout : stderr,
        "{}{}",
        good ? "" : "postern: ",
        reply.body.empty() ? fmt::format("it answers HTTP {}\n", reply.status) : reply.body);
    return good ? 0 : 1;
}

std::string escape_query(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
        const bool plain =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        escaped +=
            plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return escaped;
}

}  // namespace postern::app
