#include "postern/config/parse.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "checks.h"
#include "postern/base/units.h"
#include "trust.h"
#include "values.h"

namespace postern::config {
namespace {

const Member* find(const Node& table, std::string_view key) {
    for (const Member& member : table.members) {
        if (member.key == key) {
            return &member;
        }
    }
    return nullptr;
}

/// A section's struct that a table of the file may fill, wholly (its own section) or as a guest
/// (keys of [limits] in a listener).
template <class T>
struct Scope {
    std::string_view section;
    T& into;
    bool guest = false;
};

/// Edits (insert, delete, replace a character) from `a` to `b`.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row.back();
}

/// The section whose keys have `name`, or empty.
std::string_view section_of_key(std::string_view name) {
    std::string_view found;
    for_each_section([&]<class T>(std::string_view section, std::string_view, std::string_view) {
        for (const Key<T>& key : keys<T>()) {
            if (key.name == name && found.empty()) {
                found = section;
            }
        }
    });
    return found;
}

std::string unknown_key(
    const std::string& name, std::string_view key, const std::vector<std::string_view>& known) {
    constexpr std::size_t edits_max = 2;
    constexpr std::size_t characters_an_edit =
        3;  // of three letters, two edits leave nothing to recognise
    constexpr std::size_t key_size_max = 64;  // a longer one resembles nothing
    std::string text = "unknown key " + name;
    if (key.size() <= key_size_max) {
        const auto nearest = std::min_element(known.begin(), known.end(), [key](auto a, auto b) {
            return distance(key, a) < distance(key, b);
        });
        if (distance(key, *nearest) <= std::min(edits_max, nearest->size() / characters_an_edit)) {
            return text + "; did you mean " + std::string(*nearest) + "?";
        }
    }
    const std::string_view elsewhere = section_of_key(key);
    if (!elsewhere.empty()) {
        return text + "; it belongs to [" + std::string(elsewhere) + "]";
    }
    text += "; allowed: ";
    for (const std::string_view& one : known) {
        text += one;
        text += &one == &known.back() ? "" : ", ";
    }
    return text;
}

template <class T>
T read_defaults() {
    T into;
    for (const Key<T>& key : keys<T>()) {
        if (key.fallback.starts_with('(')) {
            continue;
        }
        const auto read = read_document("value = " + std::string(key.fallback));
        const Node* const node = std::get_if<Node>(&read);
        POSTERN_ASSERT(node != nullptr, "a default in the key table is TOML");
        Findings none;
        const Slot slot = key.slot_in(into);
        read_value(
            node->members[0].value,
            {.name = std::string(key.name),
             .type = type_of(slot),
             .allowed = key.allowed,
             .check = key.check,
             .findings = none},
            slot);
        POSTERN_ASSERT(none.errors.empty(), "a default in the key table is allowed by its own row");
    }
    return into;
}

/// A section's struct as it is when the file says nothing.
template <class T>
const T& defaults() {
    static const T value = read_defaults<T>();
    return value;
}

class Reader {
   public:
    Reader(std::string file, std::string_view system_hostname, Expand expand)
        : system_hostname_(system_hostname), expand_(expand) {
        findings_.file = std::move(file);
    }

    Parsed read(std::string_view text);

   private:
    void read_sections();
    void read_hostname();
    void read_pools();
    void read_listeners();
    void check_rules_files();
    void check_spool_path();
    void check_pool_tls(const Pool& pool, const Member& member);
    void check_references();
    void check_limits(const Limits& limits, Place place);
    void check_retry(const Retry& retry, const std::string& where, Place place);

    template <class T>
    void read_section(std::string_view section, T& into);
    template <class... T>
    void read_members(const Node& table, const std::string& where, Scope<T>... scopes);
    template <class T>
    bool read_member(const Member& member, const std::string& where, Scope<T> scope);

    /// Where a key or a section stands, or the file's beginning.
    Place place_of(std::initializer_list<std::string_view> path) const;

    Findings findings_;
    std::string_view system_hostname_;
    Expand expand_;
    Node document_;
    Config config_;
    std::vector<const Node*> listener_tables_;  // in document_, one for each of config_.listeners
};

template <class T>
bool Reader::read_member(const Member& member, const std::string& where, Scope<T> scope) {
    const auto rows = keys<T>();
    const auto row = std::find_if(
        rows.begin(), rows.end(), [&](const Key<T>& key) { return key.name == member.key; });
    if (row == rows.end()) {
        return false;
    }
    const std::string name = (where.empty() ? "" : where + ".") + member.key;
    if (scope.guest && has(row->flags, Flags::process_wide)) {
        findings_.error(
            member.place,
            name + " is one for the whole process; allowed: in [" + std::string(scope.section) +
                "] only");
        return true;
    }
    const Slot slot = row->slot_in(scope.into);
    read_value(
        member.value,
        {name,
         type_of(slot),
         row->allowed,
         row->check,
         expand_,
         has(row->flags, Flags::secret),
         findings_},
        slot);
    return true;
}

template <class... T>
void Reader::read_members(const Node& table, const std::string& where, Scope<T>... scopes) {
    for (const Member& member : table.members) {
        if ((read_member(member, where, scopes) || ...)) {
            continue;
        }
        std::vector<std::string_view> known;
        const auto gather = [&known]<class S>(const Scope<S>& scope) {
            for (const Key<S>& key : keys<S>()) {
                if (!scope.guest || !has(key.flags, Flags::process_wide)) {
                    known.push_back(key.name);
                }
            }
        };
        (gather(scopes), ...);
        const std::string name = (where.empty() ? "" : where + ".") + in_quotes(member.key);
        findings_.error(member.place, unknown_key(name, member.key, known));
    }
}

template <class T>
void Reader::read_section(std::string_view section, T& into) {
    const Member* const member = find(document_, section);
    if (member == nullptr) {
        return;
    }
    const std::string name(section);
    if (member->value.kind != Node::Kind::table) {
        findings_.error(member->place, name + " is a section; allowed: [" + name + "]");
        return;
    }
    read_members(member->value, name, Scope<T>{section, into});
}

Place Reader::place_of(std::initializer_list<std::string_view> path) const {
    const Node* node = &document_;
    Place place;
    for (const std::string_view key : path) {
        const Member* const member = find(*node, key);
        if (member == nullptr) {
            break;
        }
        place = member->place;
        node = &member->value;
    }
    return place;
}

void Reader::read_sections() {
    // A list of those that are read here or below; what else stands at the top is a key without a
    // section, or unknown.
    std::vector<std::string_view> sections;
    for_each_section([&]<class T>(std::string_view section, std::string_view, std::string_view) {
        if constexpr (std::is_same_v<T, Config>) {
            config_ = defaults<T>();
        } else {
            sections.push_back(section);
        }
    });
    for (const Member& member : document_.members) {
        if (std::find(sections.begin(), sections.end(), member.key) == sections.end() &&
            !read_member(member, "", Scope<Config>{"", config_})) {
            std::vector<std::string_view> known = sections;
            for (const Key<Config>& key : keys<Config>()) {
                known.push_back(key.name);
            }
            findings_.error(member.place, unknown_key(in_quotes(member.key), member.key, known));
        }
    }
    const auto read = [this]<class T>(std::string_view section, T& into) {
        into = defaults<T>();
        read_section(section, into);
    };
    read("rules", config_.rules);
    check_rules_files();
    read("relay", config_.relay);
    read("delivery", config_.delivery);
    read("retry", config_.retry);
    read("timeouts", config_.timeouts);
    read("spool", config_.spool);
    check_spool_path();
    read("limits", config_.limits);
    read("tls", config_.tls);
    read("admin", config_.admin);
    read("log", config_.log);
}

void Reader::check_rules_files() {
    const Member* const rules = find(document_, "rules");
    const Member* const files = rules == nullptr ? nullptr : find(rules->value, "files");
    if (files == nullptr || (files->value.kind == Node::Kind::list && files->value.items.empty())) {
        findings_.error(
            place_of({"rules", "files"}),
            "rules.files names no file; allowed: a list of files or globs, such as "
            "[\"rules.d/*.rules\"]");
    }
}

void Reader::check_spool_path() {
    if (config_.spool.path.empty()) {
        findings_.error(
            place_of({"spool", "path"}),
            "spool.path is empty; allowed: a folder, such as \"/var/spool/postern\"");
    }
}

void Reader::read_hostname() {
    if (config_.hostname.empty()) {
        config_.hostname = system_hostname_;
        if (find(document_, "hostname") == nullptr && !check_host_name(config_.hostname)) {
            findings_.error(
                {},
                "hostname: the system's name " + in_quotes(system_hostname_) +
                    " can not be used; allowed: hostname = \"gw1.example.net\"");
        }
    }
    if (config_.hostname.find('.') == std::string::npos) {
        findings_.warn(
            place_of({"hostname"}),
            "hostname: " + in_quotes(config_.hostname) +
                " has no dot; other hosts may refuse such a name");
    }
}

void Reader::read_pools() {
    Pool& model = config_.host_pool;
    model = defaults<Pool>();
    model.helo = config_.hostname;
    model.delivery = config_.delivery.mode;
    model.defer = config_.delivery.defer;
    model.retry = config_.retry;

    const Member* const pools = find(document_, "pool");
    if (pools == nullptr) {
        return;
    }
    for (const Member& member : pools->value.members) {
        if (member.value.kind != Node::Kind::table || !is_pool_name(member.key)) {
            findings_.error(
                member.place,
                "pool." + in_quotes(member.key) +
                    " is no pool; allowed: [pool.NAME] with a NAME of up to 63 letters, "
                    "digits, '-' and '_', but not \"reject\" or \"defer\"");
            continue;
        }
        Pool pool = model;
        pool.name = member.key;
        const std::string where = "pool." + pool.name;
        read_members(
            member.value,
            where,
            Scope<Pool>{"pool", pool},
            Scope<Retry>{"retry", pool.retry, true});
        check_pool_tls(pool, member);
        pool.delivery_is_own = find(member.value, "delivery") != nullptr;
        pool.defer_is_own = find(member.value, "defer") != nullptr;
        const Member* const hosts = find(member.value, "hosts");
        if (hosts == nullptr ||
            (hosts->value.kind == Node::Kind::list && hosts->value.items.empty())) {
            findings_.error(
                hosts == nullptr ? member.place : hosts->place,
                where + ".hosts is missing; allowed: a list of hosts, such as [\"192.0.2.1:25\"]");
        }
        config_.pools.push_back(std::move(pool));
    }
    if (pools->value.kind != Node::Kind::table) {
        findings_.error(pools->place, "pool is a section for each pool; allowed: [pool.NAME]");
    }
    std::sort(config_.pools.begin(), config_.pools.end(), [](const Pool& a, const Pool& b) {
        return a.name < b.name;
    });
}

void Reader::check_pool_tls(const Pool& pool, const Member& member) {
    const std::string where = "pool." + pool.name;
    const auto check_pair = [&](std::string_view one, std::string_view other) {
        const Member* const given = find(member.value, one);
        const Member* const missing = find(member.value, other);
        const auto empty = [](const Member* key) {
            return key == nullptr ||
                   (key->value.kind == Node::Kind::text && key->value.text.empty());
        };
        if (!empty(given) && empty(missing)) {
            findings_.error(
                given->place,
                where + '.' + std::string(one) + " needs " + std::string(other) +
                    " beside it; allowed: both, or neither");
        }
    };
    check_pair("tls_cert", "tls_key");
    check_pair("tls_key", "tls_cert");
    check_pair("auth_user", "auth_password_file");
    check_pair("auth_password_file", "auth_user");
    if (pool.tls != PoolTls::verify && !pool.tls_ca.empty()) {
        findings_.warn(
            find(member.value, "tls_ca")->place,
            where + ".tls_ca: certificates are looked at with tls = \"verify\" alone");
    }
    if (pool.tls == PoolTls::none && !pool.tls_cert.empty()) {
        findings_.warn(
            find(member.value, "tls_cert")->place,
            where + ".tls_cert: it is shown to no host with tls = \"none\"");
    }
    if (pool.tls == PoolTls::none && !pool.auth_user.empty()) {
        findings_.warn(
            find(member.value, "auth_user")->place,
            where + ".auth_user: with tls = \"none\" the password goes to the hosts in plain text");
    }
}

void Reader::read_listeners() {
    const Member* const listeners = find(document_, "listener");
    constexpr std::string_view example = "[[listener]] with address = \"0.0.0.0:25\"";
    if (listeners == nullptr || listeners->value.kind != Node::Kind::list ||
        listeners->value.items.empty()) {
        findings_.error(
            listeners == nullptr ? Place{} : listeners->place,
            std::string(
                listeners == nullptr ? "there is no listener" : "listener is a list of sections") +
                "; allowed: " + std::string(example));
        return;
    }
    for (const Node& table : listeners->value.items) {
        if (table.kind != Node::Kind::table) {
            findings_.error(table.place, "this is no listener; allowed: " + std::string(example));
            continue;
        }
        Listener listener = defaults<Listener>();
        listener.tls = config_.tls.certificates.empty() ? ListenerTls::none : ListenerTls::starttls;
        listener.relay = config_.relay;
        listener.limits = config_.limits;
        listener.delivery = config_.delivery;
        read_members(
            table,
            "listener",
            Scope<Listener>{"listener", listener},
            Scope<Relay>{"relay", listener.relay, true},
            Scope<Limits>{"limits", listener.limits, true},
            Scope<Delivery>{"delivery", listener.delivery, true});
        const Member* const address = find(table, "address");
        if (address == nullptr) {
            findings_.error(
                table.place,
                "listener.address is missing; allowed: an address and a port, such as "
                "\"0.0.0.0:25\"");
            continue;
        }
        listener.name = address->value.text;
        const bool twice =
            !listener.address.host.empty() &&
            std::any_of(
                config_.listeners.begin(), config_.listeners.end(), [&](const Listener& other) {
                    return other.address == listener.address;
                });
        if (twice) {
            findings_.error(
                address->value.place,
                "listener.address: " + in_quotes(listener.name) +
                    " has a listener already; allowed: one for each address");
        }
        config_.listeners.push_back(std::move(listener));
        listener_tables_.push_back(&table);
    }
}

/// What two keys say together. Places are found again in the document: an error is rare, and values
/// stay plain.
void Reader::check_references() {
    const auto check_pool = [this](const std::string& name, std::string_view where, Place place) {
        const bool known =
            name.empty() ||
            std::any_of(config_.pools.begin(), config_.pools.end(), [&](const Pool& pool) {
                return pool.name == name;
            });
        if (!known) {
            findings_.error(
                place,
                std::string(where) + ".notify_pool: there is no pool " + in_quotes(name) +
                    "; allowed: the NAME of a [pool.NAME] of this file");
        }
    };
    check_pool(config_.delivery.notify_pool, "delivery", place_of({"delivery", "notify_pool"}));
    check_limits(config_.limits, place_of({"limits", "message_size"}));
    const bool open_relay_allowed = config_.relay.allow_open_relay;
    check_relay(
        config_.relay, "relay", open_relay_allowed, place_of({"relay", "networks"}), findings_);
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
        const Listener& listener = config_.listeners[i];
        const Node& table = *listener_tables_[i];
        if (const Member* const own = find(table, "networks")) {
            check_relay(listener.relay, "listener", open_relay_allowed, own->place, findings_);
        }
        check_listener_trust(listener, table.place, findings_);
        if (const Member* const own = find(table, "notify_pool")) {
            check_pool(listener.delivery.notify_pool, "listener", own->place);
        }
        if (const Member* const own = find(table, "message_size")) {
            check_limits(listener.limits, own->place);
        }
        if (listener.tls != ListenerTls::none && config_.tls.certificates.empty()) {
            findings_.error(
                find(table, "tls")->value.place,
                "listener.tls: there are no [tls] certificates; allowed: \"none\", or "
                "tls.certificates = [{ chain = FILE, key = FILE }]");
        }
        if (listener.delivery.postmaster.empty()) {
            findings_.warn(
                table.place,
                "delivery.postmaster is not set: mail to <postmaster> is refused here with 550 "
                "5.1.1");
        }
    }
    check_retry(config_.retry, "retry", place_of({"retry", "first"}));
    for (const Pool& pool : config_.pools) {
        const Member& table = *find(find(document_, "pool")->value, pool.name);
        if (find(table.value, "first") != nullptr || find(table.value, "max") != nullptr) {
            check_retry(pool.retry, "pool." + pool.name, table.place);
        }
    }
}

void Reader::check_retry(const Retry& retry, const std::string& where, Place place) {
    if (retry.first > retry.max) {
        findings_.error(
            place,
            where + ".first is longer than " + where + ".max; allowed: up to " +
                base::format_duration(retry.max));
    }
}

void Reader::check_limits(const Limits& limits, Place place) {
    constexpr std::uint64_t network_part =
        8;  // product.md, section 3: no client network has more of the body memory
    const std::uint64_t most = config_.limits.body_memory.octets / network_part;
    if (limits.message_size.octets > most) {
        findings_.warn(
            place,
            "limits.message_size: a client network has an eighth of body_memory, so from clients "
            "that are not in "
            "relay.networks no message over " +
                base::format_size(most) +
                " can come, or, in queue, where they go to the disk as they arrive, hardly any "
                "over "
                "body_memory");
    }
}

Parsed Reader::read(std::string_view text) {
    auto document = read_document(text);
    if (const auto* const wrong = std::get_if<SyntaxError>(&document)) {
        findings_.error(wrong->place, "this is no TOML: " + printable(wrong->text));
    } else {
        document_ = std::move(*std::get_if<Node>(&document));
        read_sections();
        read_hostname();
        read_pools();
        read_listeners();
        check_references();
    }
    const auto by_place = [](const Problem& a, const Problem& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
    };
    std::stable_sort(findings_.errors.begin(), findings_.errors.end(), by_place);
    std::stable_sort(findings_.warnings.begin(), findings_.warnings.end(), by_place);
    Parsed parsed;
    if (findings_.errors.empty()) {
        parsed.config = std::move(config_);
    } else if (std::holds_alternative<Node>(document)) {
        parsed.flawed = std::move(config_);
    }
    parsed.errors = std::move(findings_.errors);
    parsed.warnings = std::move(findings_.warnings);
    parsed.files = std::move(findings_.files);
    return parsed;
}

}  // namespace

std::string Problem::format() const {
    return file + ':' + std::to_string(line) + ':' + std::to_string(column) + ": " + text;
}

Parsed parse(
    std::string_view text,
    const std::string& file,
    std::string_view system_hostname,
    Expand expand) {
    return Reader(file, system_hostname, expand).read(text);
}

}  // namespace postern::config
