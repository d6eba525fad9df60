#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "postern/base/network.h"
#include "postern/base/time.h"

/// What the configuration file says (product.md, section 2), as one immutable value: made whole by
/// parse.h, then only read, by any thread. Structs are named after the file's sections and members
/// after its keys; defaults, ranges and meanings stand in the key table (src/config/keys.cc) alone.
/// Sizes are octets, paths are joined to the file's folder.
namespace postern::config {

// The choices of a key stand in the same order here and in the key table.
enum class ListenerTls : std::uint8_t { none, starttls, implicit };
enum class BareNewline : std::uint8_t { normalize, reject };
enum class PoolTls : std::uint8_t { none, opportunistic, required, verify };
enum class Mode : std::uint8_t { sync, hybrid, queue };
enum class Defer : std::uint8_t { pass, spool };
enum class Verify : std::uint8_t { none, rcpt };
enum class VerifyUnknown : std::uint8_t { defer, accept };
enum class LogFormat : std::uint8_t { json, text };

struct Size {
    std::uint64_t octets = 0;
    bool operator==(const Size&) const = default;
};

struct Percent {
    std::uint32_t value = 0;
    bool operator==(const Percent&) const = default;
};

/// A host and a port. `host` is an IPv4 or IPv6 address without brackets, or a name.
struct Endpoint {
    std::string host;
    std::uint16_t port = 0;
    bool is_address = false;
    bool operator==(const Endpoint&) const = default;
};

struct Certificate {
    std::filesystem::path chain;
    std::filesystem::path key;
    // Where the file says so: for messages about what is in those files.
    std::uint32_t line = 1;
    std::uint32_t column = 1;

    bool operator==(const Certificate& other) const {
        return chain == other.chain && key == other.key;
    }
};

struct AdminAddress {
    std::filesystem::path socket;  // of a Unix socket; empty: `endpoint` is meant
    Endpoint endpoint;
    bool operator==(const AdminAddress&) const = default;
};

struct LogOutput {
    enum class Kind : std::uint8_t { standard_error, standard_output, file };
    Kind kind = Kind::standard_error;
    std::filesystem::path path;  // for `file`
    bool operator==(const LogOutput&) const = default;
};

struct Rules {
    std::vector<std::filesystem::path> files;  // sorted, each once
    Percent shrink_max;
    std::string recipient_delimiter;  // one character; empty: off
};

struct Relay {
    base::Networks networks;
    base::Networks deny;
    bool allow_open_relay = false;
    bool soft_reject = false;
    bool routed_local_parts = false;
    bool operator==(const Relay&) const = default;
};

struct Limits {
    Size message_size;
    std::uint32_t recipients = 0;
    std::uint32_t connections = 0;
    std::uint32_t connections_per_client = 0;  // 0: no limit
    std::uint32_t received_max = 0;
    std::uint32_t errors = 0;
    Size body_memory;
    // Each client's in a minute; 0: no limit.
    std::uint32_t connection_rate = 0;
    std::uint32_t message_rate = 0;
    std::uint32_t recipient_rate = 0;
    std::uint32_t refused_rate = 0;
    Size byte_rate;
    bool operator==(const Limits&) const = default;
};

struct Delivery {
    Mode mode{};
    base::Duration hybrid_deadline{};
    base::Duration sync_limit{};
    Defer defer{};
    std::string postmaster;   // empty: none
    std::string notify_pool;  // empty: none
    bool operator==(const Delivery&) const = default;
};

struct Retry {
    base::Duration first{};
    base::Duration max{};
    base::Duration expire{};
    bool operator==(const Retry&) const = default;
};

struct Timeouts {
    base::Duration command{};
    base::Duration data{};
    base::Duration connect{};
    base::Duration reply{};
    base::Duration busy{};
    base::Duration data_done{};
    base::Duration shutdown_grace{};
};

struct Listener {
    Endpoint address;
    std::string name;  // `address` as the file writes it: the label in logs and metrics
    ListenerTls tls{};
    base::Networks proxy_networks;
    bool trusted = false;
    BareNewline bare_newline{};
    std::vector<std::string> ehlo_hide;  // upper case
    base::Networks xclient_networks;
    base::Networks xforward_networks;
    std::filesystem::path auth_file;  // empty: none
    base::Duration greeting_pause{};
    // The general ones, with what this listener replaces.
    Relay relay;
    Limits limits;
    Delivery delivery;
    bool operator==(const Listener&) const = default;
};

struct Pool {
    std::string name;
    std::vector<Endpoint> hosts;
    std::vector<Endpoint> backup;
    std::uint32_t connections = 0;
    std::uint32_t pipeline = 0;
    std::uint32_t recipients_max = 0;
    PoolTls tls{};
    std::filesystem::path tls_ca;  // empty: the system's
    std::string tls_name;          // empty: the host's name
    std::filesystem::path tls_cert;
    std::filesystem::path tls_key;
    std::string auth_user;
    std::filesystem::path auth_password_file;
    std::vector<std::string> ehlo_ignore;  // upper case
    std::vector<std::string> source;       // addresses without a port
    std::string helo;
    bool send_8bit = false;
    base::Duration max_age{};
    base::Duration idle{};
    bool xforward = false;
    Verify verify{};
    VerifyUnknown verify_unknown{};
    std::vector<std::filesystem::path> recipients_files;
    // What its files hold, filled in by who reads them.
    std::string auth_password;
    std::uint64_t tls_files = 0;  // hash of all of tls_ca, tls_cert and tls_key
    // The general ones, with what this pool replaces. A listener's go before the general ones, but
    // not before a pool's own.
    Mode delivery{};
    bool delivery_is_own = false;
    Defer defer{};
    bool defer_is_own = false;
    Retry retry;
    bool operator==(const Pool&) const = default;
};

struct Spool {
    std::filesystem::path path;
    Size min_free;
};

struct Tls {
    std::vector<Certificate> certificates;
};

struct Admin {
    AdminAddress address;
    std::string token;
};

struct Log {
    LogFormat format{};
    LogOutput output;
};

struct Config {
    std::string hostname;
    std::uint32_t workers = 0;  // 0: one for each core
    std::vector<Listener> listeners;
    Rules rules;
    Relay relay;
    Delivery delivery;
    Retry retry;
    Timeouts timeouts;
    Spool spool;
    Limits limits;
    Tls tls;
    Admin admin;
    Log log;
    std::vector<Pool> pools;  // sorted by name
    Pool host_pool;  // what a pool is like that a rule makes by naming a host: the defaults, no
                     // name, no hosts
};

/// notify_pool or postmaster where no listener is meant, as of notifications: that of [delivery],
/// else the first that a listener has.
inline const std::string& delivery_key(const Config& config, std::string Delivery::*key) {
    for (const Listener& listener : config.listeners) {
        if ((config.delivery.*key).empty() && !(listener.delivery.*key).empty()) {
            return listener.delivery.*key;
        }
    }
    return config.delivery.*key;
}

}  // namespace postern::config
