#include <cstdint>
#include <string>

#include "postern/base/assert.h"
#include "postern/smtp/body_scanner.h"
#include "tests/unit/smtp/body_model.h"

namespace postern::smtp {
namespace {

using test::Content;

/// In buffers of their own, so that reading past one is seen.
Content scanned(const std::string& input, std::size_t split, bool stuffed) {
    BodyScanner scanner;
    scanner.begin(stuffed);
    Content content;
    const std::string buffers[] = {input.substr(0, split), input.substr(split)};
    for (const std::string& buffer : buffers) {
        std::string_view left = buffer;
        while (!content.ended) {
            const BodyPiece piece = scanner.next(left);
            content.ended = piece.ends_data;
            if (piece.run.empty()) {
                break;
            }
            POSTERN_ASSERT(
                piece.begins_line == (content.text.empty() || content.text.ends_with("\r\n")),
                "a piece that begins a line is marked");
            POSTERN_ASSERT(
                piece.has_dot_line == ((piece.begins_line && piece.run.front() == '.') ||
                                       piece.run.find("\n.") != std::string_view::npos),
                "a line that begins with a dot is marked");
            content.text += piece.run;
        }
        content.taken += buffer.size() - left.size();
    }
    if (!stuffed) {
        content.text += scanner.finish().run;
    }
    content.bare_newline = scanner.bare_newline();
    return content;
}

/// As a client sends it by DATA: a dot before each that begins a line.
std::string stuffed_lines(const std::string& content) {
    std::string stuffed;
    for (std::size_t i = 0; i < content.size(); ++i) {
        const bool begins = i == 0 || (i >= 2 && content[i - 1] == '\n' && content[i - 2] == '\r');
        if (begins && content[i] == '.') {
            stuffed += '.';
        }
        stuffed += content[i];
    }
    return stuffed;
}

}  // namespace
}  // namespace postern::smtp

/// The scanner against the obvious algorithm, by DATA and by BDAT, and the one against the other,
/// split at a place that the first two octets choose.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::smtp;
    if (size < 2) {
        return 0;
    }
    const std::string input(reinterpret_cast<const char*>(data) + 2, size - 2);
    const std::size_t place = data[0] + 256U * data[1];
    const std::string stuffed = input + "\r\n.\r\n";
    POSTERN_ASSERT(
        scanned(stuffed, place % stuffed.size(), true) == test::model_of_data(stuffed),
        "a body by DATA is what the model says");
    POSTERN_ASSERT(
        scanned(input, place % (input.size() + 1), false) == test::model_of_chunks(input),
        "a body by BDAT is what the model says");
    // The same content is the same message, whichever way it comes.
    const std::string content = input + "\r\n";
    const std::string by_data = stuffed_lines(content) + ".\r\n";
    const Content one = scanned(by_data, place % by_data.size(), true);
    const Content other = scanned(content, place % content.size(), false);
    POSTERN_ASSERT(one.ended && one.taken == by_data.size(), "the data end where they end");
    POSTERN_ASSERT(
        one.text == other.text && one.bare_newline == other.bare_newline,
        "a body by DATA and by BDAT is one");
    return 0;
}
