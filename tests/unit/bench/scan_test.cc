#include "bench/load/scan.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "bench/load/content.h"

namespace postern::bench {
namespace {

struct Scanned {
    std::string content;
    std::size_t taken = 0;
    bool ended = false;
    std::uint64_t bare_cr = 0, bare_lf = 0;
    bool eight_bit = false;
    bool operator==(const Scanned&) const = default;
};

Scanned scan(ContentScanner::By by, const std::vector<std::string>& pieces) {
    ContentScanner scanner;
    scanner.reset(by);
    Scanned result;
    for (const std::string& piece : pieces) {
        std::vector<std::string_view> parts;
        result.taken += scanner.scan(piece, parts);
        for (const std::string_view part : parts) {
            result.content += part;
        }
    }
    result.ended = scanner.ended();
    result.bare_cr = scanner.bare_cr();
    result.bare_lf = scanner.bare_lf();
    result.eight_bit = scanner.eight_bit();
    return result;
}

/// The obvious way, on the whole text: the end is the first CRLF.CRLF or a dot that stands alone at
/// the start.
Scanned model(ContentScanner::By by, const std::string& text) {
    Scanned result;
    std::string kept = text;
    if (by == ContentScanner::By::data) {
        const std::size_t end = ("\r\n" + text).find("\r\n.\r\n");
        result.ended = end != std::string::npos;
        result.taken = result.ended ? end + 3 : text.size();
        kept = text.substr(0, result.ended ? end : text.size());
    } else {
        result.taken = text.size();
    }
    for (std::size_t i = 0; i < kept.size(); ++i) {
        const bool line_start = i == 0 || (i >= 2 && kept[i - 1] == '\n' && kept[i - 2] == '\r');
        if (by == ContentScanner::By::data && line_start && kept[i] == '.') {
            continue;
        }
        result.content += kept[i];
        result.bare_lf += kept[i] == '\n' && (i == 0 || kept[i - 1] != '\r') ? 1 : 0;
        result.bare_cr += kept[i] == '\r' && (i + 1 == kept.size() || kept[i + 1] != '\n') ? 1 : 0;
        result.eight_bit |= (static_cast<unsigned char>(kept[i]) & 0x80) != 0;
    }
    return result;
}

std::string random_text(std::mt19937_64& random) {
    static const std::vector<std::string> tokens = {
        "\r",
        "\n",
        "\r\n",
        ".",
        "\r\n.",
        "\r\n..",
        "a",
        "bcdefghijklmnopqrstuvwxyz0123456789",
        "\x80",
        "\r\n.\r\n"};
    std::string text;
    for (std::size_t left = random() % 24; left > 0; --left) {
        // The last token ends the data: rarely, so that much else comes before.
        text += tokens[random() % (random() % 4 == 0 ? tokens.size() : tokens.size() - 1)];
    }
    return text;
}

TEST(ContentScanner, AgreesWithTheModelAtEverySplit) {
    for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
        std::mt19937_64 random(seed);
        const std::string text = random_text(random);
        for (const auto by : {ContentScanner::By::data, ContentScanner::By::bdat}) {
            const Scanned expected = model(by, text);
            for (std::size_t split = 0; split <= text.size(); ++split) {
                Scanned got = scan(by, {text.substr(0, split), text.substr(split)});
                // A dot and what follows it at the very end are decided by octets that have not
                // come.
                if (!expected.ended && by == ContentScanner::By::data) {
                    got.content =
                        expected.content.starts_with(got.content) ? expected.content : got.content;
                    got.bare_cr = expected.bare_cr;
                }
                EXPECT_EQ(got.content, expected.content) << "seed " << seed << " split " << split;
                EXPECT_EQ(got, expected) << "seed " << seed << " split " << split;
            }
        }
    }
}

TEST(ContentScanner, UndoesStuffing) {
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
        std::mt19937_64 random(seed);
        const std::string content = random_text(random) + "\r\n";
        const std::string wire = as_data(content);
        std::vector<std::string> octets;
        for (const char c : wire) {
            octets.emplace_back(1, c);
        }
        const Scanned got = scan(ContentScanner::By::data, octets);
        EXPECT_EQ(got.content, content) << "seed " << seed;
        EXPECT_TRUE(got.ended) << "seed " << seed;
        EXPECT_EQ(scan(ContentScanner::By::data, {wire + "QUIT\r\n"}).taken, wire.size());
    }
}

}  // namespace
}  // namespace postern::bench
