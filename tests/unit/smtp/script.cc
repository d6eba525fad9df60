#include "script.h"

#include <algorithm>
#include <sstream>

namespace postern::smtp::test {
namespace {

std::string unescape(const std::string& text, std::string& error) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            result += text[i];
            continue;
        }
        const char kind = ++i < text.size() ? text[i] : '\0';
        switch (kind) {
            case 'r':
                result += '\r';
                break;
            case 'n':
                result += '\n';
                break;
            case 't':
                result += '\t';
                break;
            case '\\':
                result += '\\';
                break;
            case 'x':
                result += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
                i += 2;
                break;
            default:
                error = "unknown escape in: " + text;
        }
    }
    return result;
}

void add_send(Script& script, const std::string& kind, const std::string& text) {
    if (kind == "C:") {
        script.input += unescape(text, script.error) + "\r\n";
    } else if (kind == "C-") {
        script.input += unescape(text, script.error);
    } else {
        std::size_t end = 0;
        const int times = std::stoi(text, &end);
        const std::string part = unescape(text.substr(end + 1), script.error);
        for (int i = 0; i < times; ++i) {
            script.input += part;
        }
    }
}

/// One reply of the output, its lines without CRLF; empty at the end.
std::vector<std::string> take_reply(const std::string& output, std::size_t& at) {
    std::vector<std::string> lines;
    while (at < output.size()) {
        const std::size_t end = output.find("\r\n", at);
        lines.push_back(output.substr(at, end - at));
        at = end == std::string::npos ? output.size() : end + 2;
        if (lines.back().size() < 4 || lines.back()[3] != '-') {
            break;
        }
    }
    return lines;
}

bool has_line(const std::vector<std::string>& reply, std::string prefix) {
    return std::any_of(reply.begin(), reply.end(), [&](std::string line) {
        if (line.size() > 3 && line[3] == '-') {
            line[3] = ' ';
        }
        return line.starts_with(prefix);
    });
}

std::string joined(const std::vector<std::string>& reply) {
    std::string result;
    for (const std::string& line : reply) {
        result += (result.empty() ? "" : " / ") + line;
    }
    return result.empty() ? "nothing" : result;
}

}  // namespace

Script parse_script(const std::string& name, const std::string& text) {
    Script script;
    script.name = name;
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        const auto rest = [&](std::size_t at) { return line.size() > at ? line.substr(at) : ""; };
        const auto expect = [&](Expectation::Kind kind) {
            script.expectations.push_back({kind, rest(3), std::nullopt, number});
        };
        const std::string kind = line.substr(0, 2);
        if (line.empty() || line.starts_with('#')) {
            continue;
        }
        if (line.starts_with("config: ")) {
            const std::size_t equals = line.find(" = ");
            script.config.emplace_back(line.substr(8, equals - 8), line.substr(equals + 3));
        } else if (line.starts_with("rules: ")) {
            script.rules.push_back(line.substr(7));
        } else if (line.starts_with("login: ")) {
            const std::size_t blank = line.find(' ', 7);
            script.logins[line.substr(7, blank - 7)] = line.substr(blank + 1);
        } else if (line == "secure") {
            script.secure = true;
        } else if (kind == "C:" || kind == "C-" || kind == "C*") {
            add_send(script, kind, rest(3));
        } else if (kind == "S:") {
            expect(Expectation::Kind::reply);
        } else if (kind == "S+") {
            expect(Expectation::Kind::more);
        } else if (kind == "S!") {
            expect(Expectation::Kind::absent);
        } else if (kind == "S.") {
            expect(Expectation::Kind::closed);
        } else if (kind == "M:") {
            expect(Expectation::Kind::message);
            script.expectations.back().text = unescape(rest(3), script.error);
        } else if (
            kind == "B:" && !script.expectations.empty() &&
            script.expectations.back().kind == Expectation::Kind::message) {
            auto& content = script.expectations.back().content;
            content = content.value_or("") + unescape(rest(3), script.error) + "\r\n";
        } else {
            script.error = "line " + std::to_string(number) + ": " + line;
        }
    }
    return script;
}

std::vector<std::string> default_rules() {
    return {
        "example.com sink", "refused.example reject:not here", "deferred.example defer:not now"};
}

mail::Reply decide(const std::vector<std::string>& rules, std::string_view domain) {
    for (const std::string& rule : rules) {
        const std::string pattern = rule.substr(0, rule.find(' '));
        if (pattern != "*" && pattern != domain && !domain.ends_with("." + pattern)) {
            continue;
        }
        const std::string_view text = std::string_view(rule).substr(rule.find(':') + 1);
        if (rule.find("reject:") != std::string::npos) {
            return {550, {5, 1, 2}, text};
        }
        if (rule.find("defer:") != std::string::npos) {
            return {450, {4, 1, 2}, text};
        }
        return {};
    }
    return {550, {5, 7, 1}, "relaying denied"};
}

std::string compare(
    const Script& script,
    const std::string& output,
    bool closed,
    const std::vector<Message>& messages) {
    std::size_t at = 0;
    std::size_t message = 0;
    std::vector<std::string> reply = take_reply(output, at);  // the greeting
    if (!has_line(reply, "220 gw.example.net ESMTP")) {
        return "the greeting is " + joined(reply);
    }
    for (const Expectation& expected : script.expectations) {
        const std::string where = script.name + ":" + std::to_string(expected.line) + ": ";
        switch (expected.kind) {
            case Expectation::Kind::reply:
                reply = take_reply(output, at);
                [[fallthrough]];
            case Expectation::Kind::more:
                if (!has_line(reply, expected.text)) {
                    return where + "expected " + expected.text + ", got " + joined(reply);
                }
                break;
            case Expectation::Kind::absent:
                if (has_line(reply, expected.text)) {
                    return where + "expected no " + expected.text + ", got " + joined(reply);
                }
                break;
            case Expectation::Kind::closed:
                if (!closed || at != output.size()) {
                    return where + "expected the end, got " + joined(take_reply(output, at));
                }
                break;
            case Expectation::Kind::message:
                if (message == messages.size()) {
                    return where + "the message has not come";
                }
                if (messages[message].envelope != expected.text) {
                    return where + "the envelope is " + messages[message].envelope;
                }
                if (expected.content && messages[message].content != *expected.content) {
                    return where + "the content is " + messages[message].content;
                }
                ++message;
                break;
        }
    }
    if (at != output.size()) {
        return script.name + ": not expected: " + output.substr(at);
    }
    if (message != messages.size()) {
        return script.name +
               ": a message came that the script does not know: " + messages[message].envelope;
    }
    return "";
}

}  // namespace postern::smtp::test
