// Rules files of any octets: load() ends, and gives a table or errors that name a place; a table
// answers for its own names.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "postern/mail/domain.h"
#include "postern/route/explain.h"
#include "postern/route/rules.h"

namespace {

using namespace postern;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

route::Secrets fixed_secrets() {
    route::Secrets secrets;
    std::uint64_t state = 1;
    for (auto& number : secrets.numbers) {
        for (auto& word : number) {
            state = state * 6364136223846793005 + 1442695040888963407;
            word = state ^ state >> 29;
        }
    }
    return secrets;
}

void check_table(const route::Table& table) {
    for (std::uint32_t rule = 0; rule < table.rule_count(); ++rule) {
        route::RuleText text = table.text_of(rule);
        require(table.action_of(rule) < table.actions().size());
        std::size_t at =
            text.kind == route::Pattern::user ? text.name.rfind('@') : std::string_view::npos;
        std::string_view domain =
            at == std::string_view::npos ? text.name : text.name.substr(at + 1);
        mail::DomainKey key;
        if (text.kind != route::Pattern::everything) {
            require(mail::make_domain_key(domain, key) && key.view() == domain);
            require(
                text.kind == route::Pattern::subdomains || table.look_up({domain, "u"}).found() ||
                text.kind == route::Pattern::user);
        }
    }
    for (std::string_view domain : {"example.com", "a.b.c.d.example.com", "com", "[192.0.2.7]"}) {
        route::Match match = table.look_up({domain, "\"a b\"+c"});
        require(match.found() == (match.action < table.actions().size()));
    }
    route::Explanation explanation = route::explain(table, {}, "bob+x@www.example.com", {});
    require(!route::to_json(explanation, table, {}).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const route::Secrets secrets = fixed_secrets();
    route::RuleSettings settings;
    settings.pools = {"one", "two"};
    route::Source source{"f", {reinterpret_cast<const char*>(data), size}};
    route::Loaded loaded = route::load({&source, 1}, settings, secrets);
    require((loaded.table == nullptr) == !loaded.errors.empty());
    for (const std::string& error : loaded.errors) {
        require(error.starts_with("f:") && std::atoi(error.c_str() + 2) > 0);
    }
    if (loaded.table != nullptr) {
        check_table(*loaded.table);
    }
    return 0;
}
