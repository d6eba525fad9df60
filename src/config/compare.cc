#include <type_traits>

#include "keys.h"
#include "postern/config/parse.h"

namespace postern::config {
namespace {

bool same(const Slot& one, const Slot& other) {
    return std::visit(
        [&](auto* value) { return *value == *std::get<decltype(value)>(other); }, one);
}

/// The keys of one section that the whole process has, as SECTION.KEY.
template <class T>
void add_changed(std::string_view section, T& one, T& other, std::vector<std::string>& changed) {
    for (const Key<T>& key : keys<T>()) {
        if (has(key.flags, Flags::restart) && !same(key.slot_in(one), key.slot_in(other))) {
            changed.push_back(
                (section.empty() ? "" : std::string(section) + ".") + std::string(key.name));
        }
    }
}

struct Section {
    Config& one;
    Config& other;
    std::vector<std::string>& changed;

    template <class T>
    void operator()(std::string_view name, std::string_view, std::string_view) {
        if constexpr (std::is_same_v<T, Config>) {
            add_changed(name, one, other, changed);
        } else if constexpr (std::is_same_v<T, Spool>) {
            add_changed(name, one.spool, other.spool, changed);
        } else if constexpr (std::is_same_v<T, Limits>) {
            add_changed(name, one.limits, other.limits, changed);
        } else if constexpr (std::is_same_v<T, Admin>) {
            add_changed(name, one.admin, other.admin, changed);
        } else if constexpr (std::is_same_v<T, Log>) {
            add_changed(name, one.log, other.log, changed);
        }
    }
};

}  // namespace

std::vector<std::string> changed_for_restart(Config running, Config next) {
    std::vector<std::string> changed;
    for_each_section(Section{running, next, changed});
    return changed;
}

}  // namespace postern::config
