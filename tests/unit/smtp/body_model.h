#pragma once

#include <cstddef>
#include <string>

namespace postern::smtp::test {

/// What a body comes to, by the obvious algorithm: the end first, then the lines, then the repair.
struct Content {
    std::string text;
    std::size_t taken = 0;  // octets of the input
    bool ended = false;
    bool bare_newline = false;
    bool operator==(const Content&) const = default;
};

inline std::string repaired(const std::string& raw, bool& bare_newline) {
    std::string text;
    for (std::size_t i = 0; i < raw.size(); ++i) {
        if (raw[i] == '\r' && i + 1 < raw.size() && raw[i + 1] == '\n') {
            text += "\r\n";
            ++i;
        } else if (raw[i] == '\r' || raw[i] == '\n') {
            text += raw[i] == '\r' ? " " : "\r\n";
            bare_newline = true;
        } else {
            text += raw[i];
        }
    }
    return text;
}

/// REQUIRES: the end of the data stands in `input`.
inline Content model_of_data(const std::string& input) {
    Content content;
    const std::string lines = "\r\n" + input;
    const std::size_t end = lines.find("\r\n.\r\n");
    content.taken = end + 3;
    content.ended = true;
    std::string raw = lines.substr(0, end + 2);
    for (std::size_t at = raw.find("\r\n."); at != std::string::npos;
         at = raw.find("\r\n.", at + 2)) {
        raw.erase(at + 2, 1);
    }
    content.text = repaired(raw.substr(2), content.bare_newline);
    return content;
}

inline Content model_of_chunks(const std::string& input) {
    Content content;
    content.taken = input.size();
    content.text = repaired(input, content.bare_newline);
    return content;
}

}  // namespace postern::smtp::test
