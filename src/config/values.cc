#include "values.h"

#include <algorithm>
#include <charconv>

#include "checks.h"
#include "postern/base/units.h"

namespace postern::config {
namespace {

constexpr std::string_view range_separator = " .. ";
constexpr std::uint16_t smtp_port = 25;

std::string join_choices(std::string_view allowed) {
    std::string text;
    for (const std::string_view choice : split_choices(allowed)) {
        text += text.empty() ? "" : ", ";
        text += '"';
        text += choice;
        text += '"';
    }
    return text;
}

std::pair<std::string_view, std::string_view> split_range(std::string_view allowed) {
    const std::size_t middle = allowed.find(range_separator);
    POSTERN_ASSERT(middle != std::string_view::npos, "a number's row in the key table has a range");
    return {allowed.substr(0, middle), allowed.substr(middle + range_separator.size())};
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

/// "20 %" or "20%"
std::optional<std::uint64_t> parse_percent(std::string_view text) {
    if (!text.ends_with('%')) {
        return std::nullopt;
    }
    text.remove_suffix(1);
    if (text.ends_with(' ')) {
        text.remove_suffix(1);
    }
    return parse_number(text);
}

std::optional<std::uint64_t> parse_duration_ns(std::string_view text) {
    const auto duration = base::parse_duration(text);
    return duration ? std::optional(static_cast<std::uint64_t>(duration->count())) : std::nullopt;
}

std::string_view kind_name(const Node& node) {
    switch (node.kind) {
        case Node::Kind::boolean:
            return "true or false stands here";
        case Node::Kind::integer:
            return "a number stands here";
        case Node::Kind::text:
            return "a text stands here";
        case Node::Kind::list:
            return "a list stands here";
        case Node::Kind::table:
            return "a table stands here";
        case Node::Kind::other:
            break;
    }
    return "a fraction or a date stands here";
}

void reject(const Node& node, const Wanted& wanted, std::string_view what) {
    wanted.findings.error(
        node.place,
        wanted.name + ": " + std::string(what) +
            "; allowed: " + describe(wanted.type, wanted.allowed));
}

void reject_value(const Node& node, const Wanted& wanted) {
    switch (node.kind) {
        case Node::Kind::boolean:
        case Node::Kind::list:
        case Node::Kind::table:
        case Node::Kind::other:
            return reject(node, wanted, kind_name(node));
        case Node::Kind::integer:
            return reject(node, wanted, std::to_string(node.integer) + " is not allowed");
        case Node::Kind::text:
            return reject(
                node,
                wanted,
                (wanted.secret ? std::string("what stands there") : in_quotes(node.text)) +
                    " is not allowed");
    }
}

/// A number that is written as text with a unit. A plain 0 needs none.
template <class ParseUnit>
std::optional<std::uint64_t> read_with_unit(
    const Node& node, const Wanted& wanted, ParseUnit parse_unit) {
    std::optional<std::uint64_t> number;
    if (node.kind == Node::Kind::text) {
        number = parse_unit(node.text);
    } else if (node.kind == Node::Kind::integer && node.integer == 0) {
        number = 0;
    }
    const auto [first, last] = split_range(wanted.allowed);
    if (!number || *number < parse_unit(first) || *number > parse_unit(last)) {
        reject_value(node, wanted);
        return std::nullopt;
    }
    return number;
}

bool expect(const Node& node, Node::Kind kind, const Wanted& wanted) {
    if (node.kind != kind) {
        reject(node, wanted, kind_name(node));
    }
    return node.kind == kind;
}

/// Reads a list of texts; `read_item` reads one into an element, or returns false for a text that
/// is not allowed.
template <class T, class ReadItem>
void read_list(const Node& node, const Wanted& wanted, std::vector<T>& into, ReadItem read_item) {
    if (!expect(node, Node::Kind::list, wanted)) {
        return;
    }
    std::vector<T> list;
    bool good = true;
    for (const Node& item : node.items) {
        T value;
        if (item.kind == Node::Kind::text && read_item(item.text, value)) {
            list.push_back(std::move(value));
        } else {
            reject_value(item, wanted);
            good = false;
        }
    }
    if (good) {
        into = std::move(list);
    }
}

std::filesystem::path folder_of(const Wanted& wanted) {
    return std::filesystem::path(wanted.findings.file).parent_path();
}

/// A path as written, joined to the folder of the file that says it.
bool read_path(std::string_view text, const Wanted& wanted, std::filesystem::path& into) {
    if (text.empty() || text.find('\0') != std::string_view::npos) {
        return false;
    }
    into = (folder_of(wanted) / text).lexically_normal();
    return true;
}

}  // namespace

std::string printable(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const char c : text) {
        const auto octet = static_cast<unsigned char>(c);
        if (octet < 0x20 || octet >= 0x7f) {
            out += "\\x";
            out += digits[octet >> 4];
            out += digits[octet & 15];
        } else {
            out += c;
        }
    }
    return out;
}

std::string in_quotes(std::string_view text) {
    constexpr std::size_t shown_max = 80;
    return '"' + printable(text.substr(0, shown_max)) + (text.size() > shown_max ? "..." : "") +
           '"';
}

std::vector<std::string_view> split_choices(std::string_view allowed) {
    constexpr std::string_view separator = " | ";
    std::vector<std::string_view> choices;
    while (true) {
        const std::size_t end = allowed.find(separator);
        choices.push_back(allowed.substr(0, end));
        if (end == std::string_view::npos) {
            return choices;
        }
        allowed.remove_prefix(end + separator.size());
    }
}

std::string_view type_name(Type type) {
    switch (type) {
        case Type::boolean:
            return "boolean";
        case Type::count:
            return "number";
        case Type::size:
            return "size";
        case Type::percent:
            return "percentage";
        case Type::duration:
            return "duration";
        case Type::choice:
            return "choice";
        case Type::text:
            return "text";
        case Type::list:
            break;
    }
    return "list";
}

std::string describe(Type type, std::string_view allowed) {
    const auto range = [allowed](std::string_view what, std::string_view example) {
        const auto [first, last] = split_range(allowed);
        return std::string(what) + " from " + std::string(first) + " to " + std::string(last) +
               std::string(example);
    };
    switch (type) {
        case Type::boolean:
            return "true, false";
        case Type::count:
            return range("a number", "");
        case Type::size:
            return range("a size", ", such as \"64 KiB\"");
        case Type::percent:
            return range("a percentage", ", such as \"20 %\"");
        case Type::duration:
            return range("a duration", ", such as \"20 s\"");
        case Type::choice:
            return join_choices(allowed);
        case Type::text:
            return std::string(allowed);
        case Type::list:
            break;
    }
    return "a list of " + std::string(allowed);
}

namespace {

void read_value(const Node& node, const Wanted& wanted, bool& into) {
    if (expect(node, Node::Kind::boolean, wanted)) {
        into = node.boolean;
    }
}

void read_value(const Node& node, const Wanted& wanted, std::uint32_t& into) {
    const auto [first, last] = split_range(wanted.allowed);
    if (node.kind != Node::Kind::integer || node.integer < 0 ||
        static_cast<std::uint64_t>(node.integer) < parse_number(first) ||
        static_cast<std::uint64_t>(node.integer) > parse_number(last)) {
        reject_value(node, wanted);
        return;
    }
    into = static_cast<std::uint32_t>(node.integer);
}

void read_value(const Node& node, const Wanted& wanted, Size& into) {
    if (const auto octets = read_with_unit(node, wanted, base::parse_size)) {
        into = Size{*octets};
    }
}

void read_value(const Node& node, const Wanted& wanted, Percent& into) {
    if (const auto value = read_with_unit(node, wanted, parse_percent)) {
        into = Percent{static_cast<std::uint32_t>(*value)};
    }
}

void read_value(const Node& node, const Wanted& wanted, base::Duration& into) {
    if (const auto ns = read_with_unit(node, wanted, parse_duration_ns)) {
        into = base::Duration(static_cast<std::int64_t>(*ns));
    }
}

void read_value(const Node& node, const Wanted& wanted, std::string& into) {
    if (!expect(node, Node::Kind::text, wanted)) {
        return;
    }
    std::string text = node.text;
    if (!wanted.check(text)) {
        reject_value(node, wanted);
        return;
    }
    into = std::move(text);
}

void read_value(const Node& node, const Wanted& wanted, std::vector<std::string>& into) {
    read_list(node, wanted, into, [&](const std::string& text, std::string& value) {
        value = text;
        return wanted.check(value);
    });
}

void read_value(const Node& node, const Wanted& wanted, std::filesystem::path& into) {
    if (!expect(node, Node::Kind::text, wanted)) {
        return;
    }
    std::filesystem::path path;
    if (!node.text.empty() && !read_path(node.text, wanted, path)) {
        reject_value(node, wanted);
        return;
    }
    if (!path.empty()) {
        wanted.findings.files.push_back({wanted.name, path, node.place.line, node.place.column});
    }
    into = std::move(path);
}

void read_value(const Node& node, const Wanted& wanted, std::vector<std::filesystem::path>& into) {
    if (!expect(node, Node::Kind::list, wanted)) {
        return;
    }
    std::vector<std::filesystem::path> files;
    for (const Node& item : node.items) {
        std::filesystem::path glob;
        if (item.kind != Node::Kind::text || !read_path(item.text, wanted, glob)) {
            reject_value(item, wanted);
        } else if (wanted.expand == nullptr) {
            files.push_back(std::move(glob));
        } else {
            const auto matches = wanted.expand(folder_of(wanted), item.text);
            if (matches.empty()) {
                reject(
                    item,
                    wanted,
                    in_quotes(item.text) + " matches no file (looked for " + glob.string() + ")");
            }
            files.insert(files.end(), matches.begin(), matches.end());
        }
    }
    // One file may match several globs; the order of files never matters.
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    into = std::move(files);
}

void read_value(const Node& node, const Wanted& wanted, base::Networks& into) {
    if (!expect(node, Node::Kind::list, wanted)) {
        return;
    }
    std::vector<base::Network> networks;
    for (const Node& item : node.items) {
        if (item.kind != Node::Kind::text) {
            reject_value(item, wanted);
            continue;
        }
        const auto network = base::Network::parse(item.text);
        if (network) {
            networks.push_back(*network);
        } else {
            reject(item, wanted, printable(network.error().text));
        }
    }
    into = base::Networks(networks);
}

void read_value(const Node& node, const Wanted& wanted, Endpoint& into) {
    const auto endpoint =
        node.kind == Node::Kind::text ? parse_endpoint(node.text, std::nullopt) : std::nullopt;
    if (endpoint && endpoint->is_address) {
        into = *endpoint;
    } else {
        reject_value(node, wanted);
    }
}

void read_value(const Node& node, const Wanted& wanted, std::vector<Endpoint>& into) {
    read_list(node, wanted, into, [](const std::string& text, Endpoint& value) {
        const auto endpoint = parse_endpoint(text, smtp_port);
        value = endpoint.value_or(Endpoint{});
        return endpoint.has_value();
    });
}

void read_value(const Node& node, const Wanted& wanted, std::vector<Certificate>& into) {
    if (!expect(node, Node::Kind::list, wanted)) {
        return;
    }
    std::vector<Certificate> certificates;
    for (const Node& item : node.items) {
        Certificate certificate;
        bool good = item.kind == Node::Kind::table && item.members.size() == 2;
        for (const Member& member : item.members) {
            good = good && member.value.kind == Node::Kind::text &&
                   ((member.key == "chain" &&
                     read_path(member.value.text, wanted, certificate.chain)) ||
                    (member.key == "key" && read_path(member.value.text, wanted, certificate.key)));
        }
        if (good) {
            certificate.line = item.place.line;
            certificate.column = item.place.column;
            certificates.push_back(std::move(certificate));
        } else {
            reject(item, wanted, "this is no certificate");
        }
    }
    into = std::move(certificates);
}

void read_value(const Node& node, const Wanted& wanted, AdminAddress& into) {
    constexpr std::string_view unix_prefix = "unix:";
    constexpr std::size_t socket_path_max = 107;  // sockaddr_un::sun_path with its NUL
    AdminAddress address;
    bool good = false;
    if (node.kind == Node::Kind::text && node.text.starts_with(unix_prefix)) {
        good =
            read_path(
                std::string_view(node.text).substr(unix_prefix.size()), wanted, address.socket) &&
            address.socket.native().size() <= socket_path_max;
    } else if (node.kind == Node::Kind::text) {
        const auto endpoint = parse_endpoint(node.text, std::nullopt);
        good = endpoint && endpoint->is_address;
        address.endpoint = endpoint.value_or(Endpoint{});
    }
    if (good) {
        into = std::move(address);
    } else {
        reject_value(node, wanted);
    }
}

void read_value(const Node& node, const Wanted& wanted, LogOutput& into) {
    LogOutput output;
    bool good = true;
    if (node.kind == Node::Kind::text && node.text == "stdout") {
        output.kind = LogOutput::Kind::standard_output;
    } else if (node.kind != Node::Kind::text || node.text != "stderr") {
        output.kind = LogOutput::Kind::file;
        good = node.kind == Node::Kind::text && read_path(node.text, wanted, output.path);
    }
    if (good) {
        into = std::move(output);
    } else {
        reject_value(node, wanted);
    }
}

/// The place of the choice in `wanted.allowed`, or nullopt when something is wrong (and said).
std::optional<std::size_t> read_choice(const Node& node, const Wanted& wanted) {
    if (!expect(node, Node::Kind::text, wanted)) {
        return std::nullopt;
    }
    const auto choices = split_choices(wanted.allowed);
    const auto found = std::find(choices.begin(), choices.end(), node.text);
    if (found == choices.end()) {
        reject_value(node, wanted);
        return std::nullopt;
    }
    return static_cast<std::size_t>(found - choices.begin());
}

template <class E>
requires std::is_enum_v<E>

void read_value(const Node& node, const Wanted& wanted, E& into) {
    if (const auto choice = read_choice(node, wanted)) {
        into = static_cast<E>(*choice);
    }
}

}  // namespace

Type type_of(const Slot& slot) {
    return std::visit([]<class M>(M*) { return type_of<M>(); }, slot);
}

void read_value(const Node& node, const Wanted& wanted, const Slot& into) {
    std::visit([&](auto* member) { read_value(node, wanted, *member); }, into);
}

}  // namespace postern::config
