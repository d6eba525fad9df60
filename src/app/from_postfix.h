#pragma once

#include <span>
#include <string>
#include <vector>

#include "postern/route/rules.h"

/// Postfix's tables as rules (`postern check --from-postfix`). Pure.
namespace postern::app {

/// The source text of a table, as postmap reads it: a transport map, or relay_domains where no
/// value names a transport.
struct PostfixFile {
    std::string name;  // as messages show it
    std::string text;
};

struct PostfixRules {
    std::vector<std::string> rules;    // lines of a rules file, in the order of the entries
    std::vector<std::string> errors;   // "FILE:LINE: why this entry has no equal"
    bool relay_domains_known = false;  // whether who may send is as in Postfix, too
};

/// What the grammar would refuse as a rule is an error about its entry instead. With relay_domains
/// among the files, what is not in it is restricted.
PostfixRules rules_from_postfix(std::span<const PostfixFile> files, const route::Secrets& secrets);

}  // namespace postern::app
