#include "postern/smtp/body_scanner.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "body_model.h"

namespace postern::smtp {
namespace {

using test::Content;
using test::model_of_chunks;
using test::model_of_data;

/// Takes one buffer's worth; checks the marks of each piece.
void scan(BodyScanner& scanner, std::string_view input, Content& content) {
    const std::size_t size = input.size();
    const auto add = [&](const BodyPiece& piece) {
        ASSERT_EQ(piece.begins_line, content.text.empty() || content.text.ends_with("\r\n"));
        bool dot_line = piece.begins_line && piece.run.front() == '.';
        dot_line |= piece.run.find("\n.") != std::string_view::npos;
        ASSERT_EQ(piece.has_dot_line, dot_line);
        content.text += piece.run;
    };
    while (!content.ended) {
        const BodyPiece piece = scanner.next(input);
        content.ended = piece.ends_data;
        if (piece.run.empty()) {
            break;
        }
        add(piece);
    }
    if (!content.ended) {
        ASSERT_TRUE(input.empty()) << "all is taken where there is no end";
    }
    content.taken += size - input.size();
}

Content scanned(const std::vector<std::string>& buffers, bool stuffed) {
    BodyScanner scanner;
    scanner.begin(stuffed);
    Content content;
    for (const std::string& buffer : buffers) {
        if (content.ended) {
            break;
        }
        scan(scanner, buffer, content);
    }
    if (!stuffed) {
        content.text += scanner.finish().run;
    }
    content.bare_newline = scanner.bare_newline();
    bool eight_bit = false;
    for (const char c : content.text) {
        eight_bit |= static_cast<unsigned char>(c) > 127;
    }
    EXPECT_EQ(scanner.eight_bit(), eight_bit);
    return content;
}

void expect_as_model(const std::string& input, bool stuffed) {
    const Content expected = stuffed ? model_of_data(input) : model_of_chunks(input);
    ASSERT_EQ(scanned({input}, stuffed), expected);
    std::vector<std::string> octets;
    for (const char c : input) {
        octets.emplace_back(1, c);
    }
    ASSERT_EQ(scanned(octets, stuffed), expected);
    for (std::size_t split = 1; split < input.size(); ++split) {
        ASSERT_EQ(scanned({input.substr(0, split), input.substr(split)}, stuffed), expected)
            << "split at " << split;
    }
}

/// All texts over the octets that matter, up to a length.
TEST(body_scanner, every_short_text) {
    const std::string alphabet = "\r\n.x";
    for (unsigned size = 0; size <= 7; ++size) {
        for (unsigned number = 0; number < 1U << (2 * size); ++number) {
            std::string text;
            for (unsigned i = 0; i < size; ++i) {
                text += alphabet[number >> (2 * i) & 3];
            }
            const std::string data = text + "\r\n.\r\n";
            ASSERT_EQ(scanned({data}, true), model_of_data(data)) << testing::PrintToString(data);
            ASSERT_EQ(scanned({text}, false), model_of_chunks(text))
                << testing::PrintToString(text);
            if (size == 5) {
                expect_as_model(data, true);
                expect_as_model(text, false);
            }
            if (HasFatalFailure() || HasNonfatalFailure()) {
                return;
            }
        }
    }
}

/// Long texts, so that the marks fall on every place of a block of 64.
TEST(body_scanner, random_texts_at_every_split) {
    for (std::uint32_t seed = 1; seed <= 60; ++seed) {
        std::mt19937 random(seed);
        const auto odds = 2 + random() % 60;  // how seldom something odd comes
        std::string text;
        const std::size_t size = random() % 400;
        while (text.size() < size) {
            static const std::vector<std::string> parts = {
                "\r",
                "\n",
                ".",
                "\r\n",
                "\r\n.",
                "\r\n..",
                "\n.",
                "\r\n.\r",
                "\r.\r\n",
                ".\n",
                "\xc3\xa4",
                std::string(1, '\0')};
            if (random() % odds == 0) {
                text += parts[random() % parts.size()];
            } else {
                text += static_cast<char>('a' + random() % 26);
            }
        }
        expect_as_model(text + "\r\n.\r\nQUIT\r\n", true);
        expect_as_model(text, false);
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
}

TEST(body_scanner, both_variants_find_the_same) {
    if (!__builtin_cpu_supports("avx2")) {
        GTEST_LOG_(INFO) << "this processor has no AVX2: only one variant is run";
    }
    for (std::uint32_t seed = 1; seed <= 400; ++seed) {
        std::mt19937 random(seed);
        std::string text(random() % 300, 'x');
        for (int i = 0; i < 3 && !text.empty(); ++i) {
            text[random() % text.size()] = "\r\n.\xff"[random() % 4];
        }
        for (std::size_t i = 0; i + 1 < text.size(); i += 50) {
            text[i] = '\r';
            text[i + 1] = '\n';
        }
        for (const bool stop_at_dots : {false, true}) {
            // The obvious way.
            OddOctet expected{text.size(), false, false};
            for (std::size_t i = 0; i < text.size(); ++i) {
                const char before = i > 0 ? text[i - 1] : 'x';
                const bool bare_lf = text[i] == '\n' && before != '\r';
                const bool bare_cr =
                    text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n');
                const bool dot = text[i] == '.' && before == '\n';
                if (bare_lf || bare_cr || (dot && stop_at_dots)) {
                    expected.index = i;
                    break;
                }
                expected.dot_line |= dot;
                expected.eight_bit |= static_cast<unsigned char>(text[i]) > 127;
            }
            const auto check = [&](const OddOctet& found) {
                EXPECT_EQ(found.index, expected.index) << "seed " << seed;
                EXPECT_EQ(found.eight_bit, expected.eight_bit) << "seed " << seed;
                EXPECT_EQ(found.dot_line, expected.dot_line) << "seed " << seed;
            };
            check(find_odd_octet_sse2(text, stop_at_dots));
            if (__builtin_cpu_supports("avx2")) {
                check(find_odd_octet_avx2(text, stop_at_dots));
            }
        }
    }
}

/// What was received by DATA, stuffed again, is received by DATA as the same.
TEST(body_scanner, stuffing_round_trip) {
    for (std::uint32_t seed = 1; seed <= 200; ++seed) {
        std::mt19937 random(seed);
        std::string lines;
        for (auto i = random() % 30; i > 0; --i) {
            lines += std::string(random() % 4, '.') + std::string(random() % 90, 'a') + "\r\n";
        }
        std::string stuffed = lines.starts_with('.') ? "." : "";
        for (std::size_t i = 0; i < lines.size(); ++i) {
            stuffed += lines[i];
            if (lines[i] == '\n' && i + 1 < lines.size() && lines[i + 1] == '.') {
                stuffed += '.';
            }
        }
        const Content content = scanned({stuffed + ".\r\n"}, true);
        ASSERT_EQ(content.text, lines) << "seed " << seed;
        ASSERT_TRUE(content.ended);
        ASSERT_FALSE(content.bare_newline);
    }
}

}  // namespace
}  // namespace postern::smtp
