#pragma once

#include <optional>
#include <string>
#include <vector>

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
    std::string input;  // all that the client sends
    std::vector<Expectation> expectations;
    std::string error;  // what is wrong with the script itself
};

Script parse_script(const std::string& name, const std::string& text);

/// Compares what came with what is expected; the first difference as a sentence, or empty.
std::string compare(
    const Script& script,
    const std::string& output,
    bool closed,
    const std::vector<Message>& messages);

}  // namespace postern::smtp::test
