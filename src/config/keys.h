#pragma once

#include <span>
#include <string_view>
#include <variant>

#include "postern/config/config.h"

/// The key table: what keys there are, in one row each. Reading, checking, defaults and the
/// manual's page come from it.
namespace postern::config {

/// The member that a key fills, in one section's struct that there is; its type is the key's type.
using Slot = std::variant<
    bool*,
    std::uint32_t*,
    Size*,
    Percent*,
    base::Duration*,
    std::string*,
    std::vector<std::string>*,
    std::filesystem::path*,
    std::vector<std::filesystem::path>*,
    base::Networks*,
    Endpoint*,
    std::vector<Endpoint>*,
    std::vector<Certificate>*,
    AdminAddress*,
    LogOutput*,
    ListenerTls*,
    BareNewline*,
    PoolTls*,
    Mode*,
    Defer*,
    Verify*,
    VerifyUnknown*,
    LogFormat*>;

template <auto field, class T>
Slot member(T& section) {
    return &(section.*field);
}

/// Makes a text canonical and says if it is allowed.
using Check = bool (*)(std::string& text);

enum class Flags : std::uint8_t {
    none = 0,
    restart = 1,       // a change is applied by a restart only
    process_wide = 2,  // may not stand in a listener although its section's keys may
    secret = 4,        // no error repeats it
};

constexpr Flags operator|(Flags a, Flags b) {
    return static_cast<Flags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

constexpr bool has(Flags flags, Flags one) {
    return (static_cast<unsigned>(flags) & static_cast<unsigned>(one)) != 0;
}

template <class T>
struct Key {
    std::string_view name;
    Slot (*slot_in)(T& section);  // member<&T::name>
    std::string_view fallback;  // the default as TOML; "(...)" says in words what is decided later
    std::string_view allowed;  // numbers: "FIRST .. LAST"; choices: "A | B", in their enum's order;
                               // texts: in words
    std::string_view sentence;  // for the manual
    Check check = nullptr;      // texts and lists of texts: each
    Flags flags = Flags::none;
};

/// One section's rows, for the section's struct (Config: the keys that stand in no section).
template <class T>
std::span<const Key<T>> keys();

/// Calls f.template operator()<T>(section, heading, sentence) for each section in the manual's
/// order. `section` is the name in messages, `heading` what stands in the file above the section's
/// keys (empty: nothing).
template <class F>
void for_each_section(F&& f) {
    f.template operator()<Config>("", "", "Keys that stand above every section.");
    f.template operator()<Listener>(
        "listener",
        "[[listener]]",
        "One for each address to listen on; at least one. Any key of [relay], [limits] and "
        "[delivery] may stand here too and then "
        "replaces the general one, but for those marked as the whole process's.");
    f.template operator()<Rules>("rules", "[rules]", "Where the rules are.");
    f.template operator()<Relay>("relay", "[relay]", "Who may use restricted rules.");
    f.template operator()<Pool>(
        "pool",
        "[pool.NAME]",
        "A smart host, of one or many hosts. NAME has letters, digits, '-' and '_'. Any key of "
        "[retry] may stand here too.");
    f.template operator()<Delivery>(
        "delivery", "[delivery]", "Who is responsible for a message, and when.");
    f.template operator()<Retry>(
        "retry",
        "[retry]",
        "When what was not delivered is tried again. While no host of a pool can be reached its "
        "messages wait for one, not for their pauses.");
    f.template operator()<Timeouts>("timeouts", "[timeouts]", "How long is waited for whom.");
    f.template operator()<Spool>(
        "spool", "[spool]", "Where messages are kept that are not handed over yet.");
    f.template operator()<Limits>(
        "limits", "[limits]", "What one message, one client and all of them together may use.");
    f.template operator()<Tls>("tls", "[tls]", "For listeners with starttls or implicit.");
    f.template operator()<Admin>("admin", "[admin]", "How a running Postern is spoken to.");
    f.template operator()<Log>("log", "[log]", "Where the log goes.");
}

}  // namespace postern::config
