#include "bench/load/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace postern::bench {

namespace {

// Complete, so that no gateway has a reason to add what is missing.
void write_head(std::string& head, std::uint32_t run, std::uint64_t number) {
    head.clear();
    fmt::format_to(
        std::back_inserter(head),
        FMT_STRING("From: <load@bench.invalid>\r\n"
                   "To: undisclosed-recipients:;\r\n"
                   "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
                   "Message-ID: <{0:08x}.{1:012x}@bench.invalid>\r\n"
                   "Subject: load {0:08x} {1:012x}\r\n\r\n"),
        run,
        number);
}

bool has_eight_bit(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0x80) != 0;
    });
}

base::Result<std::string> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string content(std::istreambuf_iterator<char>(file), {});
    if (!file) {
        return base::Error{fmt::format("cannot read {}: {}", path, std::strerror(errno))};
    }
    return content;
}

}  // namespace

base::Result<MessageSet> MessageSet::create(const MessageOptions& options) {
    MessageSet set;
    set.options_ = options;
    if (!options.folder.empty()) {
        if (auto read = set.read_folder(); !read.ok()) {
            return read.error();
        }
        return set;
    }
    std::string head;
    write_head(head, 0, 0);
    if (options.size < head.size() + 2) {
        return base::Error{fmt::format(
            "a message of {} octets is too small: the least is {}", options.size, head.size() + 2)};
    }
    set.generate();
    return set;
}

base::Result<void> MessageSet::read_folder() {
    namespace fs = std::filesystem;
    std::vector<std::string> paths;
    std::error_code error;
    for (auto at = fs::recursive_directory_iterator(options_.folder, error);
         !error && at != fs::recursive_directory_iterator();
         at.increment(error)) {
        if (at->is_regular_file()) {
            paths.push_back(at->path().string());
        }
    }
    if (error || paths.empty()) {
        return base::Error{fmt::format(
            "no messages in {}: {}", options_.folder, error ? error.message() : "no files there")};
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
        const auto content = read_file(path);
        if (!content.ok()) {
            return content.error();
        }
        if (options_.data && !content->ends_with("\r\n")) {
            return base::Error{fmt::format(
                "{} does not end in CRLF: by DATA it would get one, so it can be sent by BDAT only",
                path)};
        }
        add(*content);
    }
    return {};
}

// Bodies of lines of 78 octets; in each sixteenth variant some lines begin with a dot. Several
// variants, so that a gateway that mixes up bodies is found out; few enough to stay in the
// processor's cache where a single one would.
void MessageSet::generate() {
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static constexpr std::size_t line = 78;
    std::string head;
    write_head(head, 0, 0);
    const std::size_t size = options_.size - head.size();
    const std::size_t count = std::clamp<std::size_t>((1 << 20) / options_.size, 4, 64);
    for (std::size_t variant = 0; variant < count; ++variant) {
        std::string body(size, ' ');
        for (std::size_t i = 0; i < size; ++i) {
            body[i] = alphabet[mix(variant << 40 | i) % alphabet.size()];
        }
        for (std::size_t end = line; end + 2 <= size; end += line) {
            body.replace(end - 2, 2, "\r\n");
            if (variant % 16 == 0 && end / line % 8 == 1 && end + 4 <= size) {
                body[end] = '.';
            }
        }
        body.replace(size - 2, 2, "\r\n");
        add(body);
    }
}

void MessageSet::add(const std::string& content) {
    Sums sums = sums_of(options_.repaired ? repaired(content) : content);
    if (options_.folder.empty()) {
        sums.size = content.size();
        sums.header = 0;
        sums.body = static_cast<std::uint32_t>(XXH3_64bits(content.data(), content.size()));
    }
    variants_.push_back({options_.data ? as_data(content) : content, sums, has_eight_bit(content)});
}

Message MessageSet::message(std::uint64_t number, std::string& head) const {
    const Variant& variant = variants_[number % variants_.size()];
    Message message{{}, variant.wire, variant.sums, variant.eight_bit};
    if (options_.folder.empty()) {
        write_head(head, options_.run, number);
        message.head = head;
        message.sums.size += head.size();
        message.sums.header = static_cast<std::uint32_t>(XXH3_64bits(head.data(), head.size()));
    }
    return message;
}

void RecipientPlan::append(std::string& to, std::uint64_t number, unsigned index) const {
    const std::uint64_t place = number * options_.per_message + index;
    const std::uint64_t choice = options_.random ? mix(options_.seed ^ mix(place)) : place;
    const std::string& pattern = options_.pattern;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const char kind = pattern[i] == '%' && i + 1 < pattern.size() ? pattern[i + 1] : '\0';
        if (kind == 'n' || kind == 'i') {
            fmt::format_to(std::back_inserter(to), FMT_STRING("{}"), kind == 'n' ? number : index);
            ++i;
        } else if (kind == 'd') {
            to += options_.domains[choice % options_.domains.size()];
            ++i;
        } else {
            to += pattern[i];
        }
    }
}

base::Result<std::vector<std::string>> read_domains(const std::string& path) {
    const auto text = read_file(path);
    if (!text.ok()) {
        return text.error();
    }
    std::vector<std::string> domains;
    std::string_view rest = *text;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view name = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        while (!name.empty() && (name.back() == '\r' || name.back() == ' ')) {
            name.remove_suffix(1);
        }
        if (!name.empty() && name.front() != '#') {
            domains.emplace_back(name);
        }
    }
    if (domains.empty()) {
        return base::Error{fmt::format("{} names no domain", path)};
    }
    return domains;
}

}  // namespace postern::bench
