#include "postern/config/parse.h"
#include "values.h"

namespace postern::config {
namespace {

template <class T>
std::string row(const Key<T>& key) {
    T values;
    const Type type = type_of(key.slot_in(values));
    const std::string allowed = describe(type, key.allowed);
    std::string fallback(key.fallback);
    if (!fallback.starts_with('(')) {
        fallback = "`" + fallback + "`";
    }
    std::string sentence(key.sentence);
    sentence += has(key.flags, Flags::process_wide) ? " One for the whole process." : "";
    sentence += has(key.flags, Flags::restart) ? " A change needs a restart." : "";
    return "| `" + std::string(key.name) + "` | " + std::string(type_name(type)) + " | " +
           fallback + " | " + allowed + " | " + sentence + " |\n";
}

}  // namespace

std::string reference() {
    std::string page =
        "# Configuration keys\n\n"
        "Printed from the program's own table. The configuration is one TOML file; relative paths "
        "start at the file's folder.\n"
        "A duration is a whole number with a unit (`ms`, `s`, `min`, `h`, `days`), a size one with "
        "`B`, `KiB`, `MiB` or `GiB`;\n"
        "both are texts, such as `\"20 s\"`, and a plain `0` needs no unit. Networks are written "
        "`\"192.0.2.0/24\"` or\n"
        "`\"2001:db8::/32\"`. A change is applied by a reload unless it says that it needs a "
        "restart.\n";
    for_each_section([&page]<class T>(
                         std::string_view, std::string_view heading, std::string_view sentence) {
        page += "\n## " +
                (heading.empty() ? std::string("General") : "`" + std::string(heading) + "`") +
                "\n\n";
        page +=
            std::string(sentence) +
            "\n\n| key | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n";
        for (const Key<T>& key : keys<T>()) {
            page += row(key);
        }
    });
    return page;
}

}  // namespace postern::config
