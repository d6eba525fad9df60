#include "pool_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "named_file.h"
#include "postern/base/siphash.h"

namespace postern::app {
namespace {

constexpr std::size_t octets_max = std::size_t{16} << 20;
constexpr std::size_t password_octets_max = 255;  // RFC 4616, section 2

/// OpenSSL's memory for all that goes to smart hosts. Handshakes with them are few, since their
/// connections are kept: all workers share it. It outlives them.
const tls::Library& library() {
    static const tls::Library one;
    return one;
}

/// What is wrong with a password file's content; empty: nothing, and `password` is it.
std::string read_password(std::string text, std::string& password) {
    if (text.ends_with('\n')) {
        text.pop_back();
    }
    if (text.ends_with('\r')) {
        text.pop_back();
    }
    std::string wrong;
    if (text.empty()) {
        wrong = "is empty";
    } else if (text.find('\n') != std::string::npos) {
        wrong = "has more than one line";
    } else if (text.find_first_of(std::string_view("\0\r", 2)) != std::string::npos) {
        wrong = "has a NUL or a CR";
    } else if (text.size() > password_octets_max) {
        wrong = "is too long";
    } else {
        password = std::move(text);
        return {};
    }
    return fmt::format(
        "{}; allowed: the password, one line of 1 to {} octets", wrong, password_octets_max);
}

}  // namespace

shard::PoolContexts read_pool_files(
    config::Config& config,
    const std::string& file,
    const std::vector<config::NamedFile>& files,
    std::vector<std::string>& errors) {
    shard::PoolContexts contexts;
    // Pools that are alike share a context.
    std::map<std::pair<config::PoolTls, std::uint64_t>, std::shared_ptr<const tls::ClientContext>>
        known;
    const auto add = [&](config::Pool& pool) {
        bool readable = true;
        std::string all;
        const auto named = [&](std::string_view key) {
            const std::string name = fmt::format("pool.{}.{}", pool.name, key);
            return std::find_if(files.begin(), files.end(), [&](const config::NamedFile& each) {
                return each.key == name;
            });
        };
        const auto read = [&](std::string_view key, const std::filesystem::path& path) {
            std::optional<std::string> text(std::in_place);
            if (!path.empty()) {
                text = read_named(file, *named(key), octets_max, errors);
                readable = readable && text;
            }
            return std::move(text).value_or(std::string());
        };
        for (const auto& [key, path] :
             {std::pair{"tls_ca", &pool.tls_ca},
              {"tls_cert", &pool.tls_cert},
              {"tls_key", &pool.tls_key}}) {
            all += path->native() + '\n' + read(key, *path) + '\n';
        }
        pool.tls_files = base::siphash({}, all);
        const std::string password = read("auth_password_file", pool.auth_password_file);
        if (readable && !pool.auth_password_file.empty()) {
            const std::string wrong = read_password(password, pool.auth_password);
            if (!wrong.empty()) {
                errors.push_back(about_named(file, *named("auth_password_file"), wrong));
            }
        }
        // A certificate without its key is an error of the configuration already.
        if (!readable || pool.tls_cert.empty() != pool.tls_key.empty()) {
            return std::shared_ptr<const tls::ClientContext>();
        }
        auto& context = known[{pool.tls, pool.tls_files}];
        if (context == nullptr) {
            auto made = shard::client_context_of(pool, library());
            if (made) {
                context = std::move(*made);
            } else {
                const std::string& what = made.error().text;
                const auto about = [&](const std::filesystem::path& path) {
                    return !path.empty() && what.starts_with(path.native());
                };
                const std::string_view key = about(pool.tls_key)    ? "tls_key"
                                             : about(pool.tls_cert) ? "tls_cert"
                                             : about(pool.tls_ca)   ? "tls_ca"
                                                                    : "tls";
                config::Problem problem{
                    .file = file, .text = fmt::format("pool.{}.{}: {}", pool.name, key, what)};
                if (const auto place = named(key); place != files.end()) {
                    problem.line = place->line;
                    problem.column = place->column;
                }
                errors.push_back(problem.format());
            }
        }
        return context;
    };
    for (config::Pool& pool : config.pools) {
        contexts.push_back(add(pool));
    }
    contexts.push_back(add(config.host_pool));
    return contexts;
}

}  // namespace postern::app
