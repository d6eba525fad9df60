#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "postern/mail/reply.h"

/// The language of tests/script/README.md.
namespace postern::smtp::test {

struct Message {
    std::string envelope;  // "from -> to to"
    std::string content;   // canonical, ended by a CRLF
};

/// Something that is expected, with the line it stands in.
struct Expectation {
    enum class Kind { reply, more, absent, closed, message };
    Kind kind;
    std::string text;
    std::optional<std::string> content;  // of a message
    int line;
};

struct Script {
    std::string name;
    std::vector<std::pair<std::string, std::string>> config;  // "limits.message_size", "\"1000 B\""
    std::vector<std::string> rules;
    std::map<std::string, std::string> logins;  // names and passwords
    bool secure = false;                        // from the beginning
    std::string input;                          // all that the client sends
    std::vector<Expectation> expectations;
    std::string error;  // what is wrong with the script itself
};

Script parse_script(const std::string& name, const std::string& text);

/// The rules of a script without `rules:` lines.
std::vector<std::string> default_rules();

/// What a world with these rules answers to a recipient of that domain; code 0: it takes it. Only
/// domains and "*" as patterns, and only `reject:` and `defer:` as targets, mean anything here. The
/// text lives as long as `rules`.
mail::Reply decide(const std::vector<std::string>& rules, std::string_view domain);

/// Compares what came with what is expected; the first difference as a sentence, or empty.
std::string compare(
    const Script& script,
    const std::string& output,
    bool closed,
    const std::vector<Message>& messages);

}  // namespace postern::smtp::test
