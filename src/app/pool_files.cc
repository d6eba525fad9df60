#include "pool_files.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

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
    if (text.empty() || text.size() > password_octets_max ||
        text.find_first_of(std::string_view("\0\r\n", 3)) != std::string::npos) {
        return fmt::format(
            "it holds no password; allowed: one line of 1 to {} octets", password_octets_max);
    }
    password = std::move(text);
    return {};
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
        const auto complain = [&](std::string_view key, const std::string& what) {
            const auto place = named(key);
            errors.push_back(
                place == files.end()
                    ? fmt::format("{}:1:1: pool.{}.{}: {}", file, pool.name, key, what)
                    : fmt::format(
                          "{}:{}:{}: pool.{}.{}: {}",
                          file,
                          place->line,
                          place->column,
                          pool.name,
                          key,
                          what));
        };
        const auto read = [&](std::string_view key, const std::filesystem::path& path) {
            std::string text;
            if (!path.empty()) {
                auto content = config::read_file(path, octets_max);
                if (content) {
                    text = std::move(*content);
                } else {
                    readable = false;
                    complain(
                        key,
                        fmt::format("{} cannot be read: {}", path.native(), content.error().text));
                }
            }
            return text;
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
                complain(
                    "auth_password_file",
                    fmt::format("{}: {}", pool.auth_password_file.native(), wrong));
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
                complain(
                    about(pool.tls_key)    ? "tls_key"
                    : about(pool.tls_cert) ? "tls_cert"
                    : about(pool.tls_ca)   ? "tls_ca"
                                           : "tls",
                    what);
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
