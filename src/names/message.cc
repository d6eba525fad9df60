#include "message.h"

#include <algorithm>
#include <optional>

namespace postern::names {
namespace {

// RFC 1035, 4.1.1
constexpr std::size_t header_octets = 12;
constexpr unsigned flag_response = 0x8000;
constexpr unsigned opcode_bits = 0x7800;
constexpr unsigned flag_truncated = 0x0200;
constexpr unsigned rcode_bits = 0x000f;
constexpr unsigned rcode_no_error = 0;
constexpr unsigned rcode_no_such_name = 3;

constexpr unsigned class_internet = 1;
constexpr unsigned type_ns = 2;
constexpr unsigned type_cname = 5;
constexpr unsigned type_soa = 6;

constexpr std::size_t name_octets_max = 254;  // without the root's octet: RFC 1035, 2.3.4
constexpr std::size_t aliases_max = 16;

/// A name in lower case, labels joined by dots, no final dot. `odd`: it has octets that no host's
/// name and no alias towards one needs, or that would make the text ambiguous; it equals no name.
struct Name {
    std::string text;
    bool odd = false;

    bool is(std::string_view other) const { return !odd && text == other; }
};

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// Reads a message from its front; a read past the end fails, and so does every later one.
class Reader {
   public:
    explicit Reader(std::string_view message) : message_(message) {}

    bool failed() const { return failed_; }

    std::size_t at() const { return at_; }

    void go_to(std::size_t at) { at_ = at; }

    unsigned number8() { return number(1); }

    unsigned number16() { return number(2); }

    std::uint32_t number32() { return number(4); }

    std::string_view octets(std::size_t size) {
        if (failed_ || size > message_.size() - at_) {
            failed_ = true;
            return {};
        }
        at_ += size;
        return message_.substr(at_ - size, size);
    }

    /// A name, compressed or not. A pointer leads before the run of labels that it ends, so every
    /// chain of them ends.
    Name name() {
        Name name;
        std::size_t run = at_;
        std::size_t behind = 0;  // where reading goes on, once a pointer was followed
        std::size_t size = 0;
        for (;;) {
            const unsigned length = number8();
            if (failed_ || length == 0) {
                break;
            }
            if (length >= 0xc0) {
                const std::size_t target = ((length & 0x3f) << 8) | number8();
                behind = behind == 0 ? at_ : behind;
                if (failed_ || target >= run) {
                    failed_ = true;
                    break;
                }
                at_ = run = target;
                continue;
            }
            size += 1 + length;
            if (length > 63 || size > name_octets_max) {
                failed_ = true;
                break;
            }
            if (!name.text.empty()) {
                name.text += '.';
            }
            for (const char c : octets(length)) {
                name.odd = name.odd || c <= ' ' || c > '~' || c == '.' || c == '\\';
                name.text += lower(c);
            }
        }
        if (behind != 0) {
            at_ = behind;
        }
        return name;
    }

   private:
    std::uint32_t number(std::size_t size) {
        std::uint32_t value = 0;
        for (const char c : octets(size)) {
            value = (value << 8) | static_cast<std::uint8_t>(c);
        }
        return value;
    }

    std::string_view message_;
    std::size_t at_ = 0;
    bool failed_ = false;
};

struct Record {
    Name owner;
    unsigned type = 0;
    std::uint32_t ttl_s = 0;
    std::size_t data = 0;  // where it begins
    std::size_t data_size = 0;
};

std::vector<Record> read_section(Reader& reader, unsigned count) {
    std::vector<Record> records;
    for (unsigned i = 0; i < count && !reader.failed(); ++i) {
        Record record;
        record.owner = reader.name();
        record.type = reader.number16();
        const unsigned record_class = reader.number16();
        record.ttl_s = reader.number32();
        if (record.ttl_s > 0x7fffffff) {
            record.ttl_s = 0;  // RFC 2181, 8
        }
        record.data_size = reader.number16();
        record.data = reader.at();
        reader.octets(record.data_size);
        if (!reader.failed() && record_class == class_internet) {
            records.push_back(std::move(record));
        }
    }
    return records;
}

Reply failure(const char* why) {
    Reply reply;
    reply.why = why;
    return reply;
}

Reply malformed() {
    return failure("the answer is malformed");
}

bool is_host_address(const base::IpAddress& address) {
    const auto& octets = address.octets;
    if (address.is_v4()) {
        return octets[0] != 0 && octets[0] < 224;  // RFC 1122, 3.2.1.3; RFC 1112, 4
    }
    return octets[0] != 0xff &&
           std::any_of(octets.begin(), octets.end(), [](std::uint8_t octet) { return octet != 0; });
}

/// Letters, digits, hyphens and (seen in the wild) underscores; not an address in digits, which
/// has a number for its last label.
bool is_host_name(std::string_view name) {
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const std::string_view last = name.substr(name.rfind('.') + 1);
    return !std::all_of(last.begin(), last.end(), digit) &&
           std::all_of(name.begin(), name.end(), [&](char c) {
               return (c >= 'a' && c <= 'z') || digit(c) || c == '-' || c == '_' || c == '.';
           });
}

/// Adds what the record says. False: it is malformed.
bool add_record(std::string_view message, const Record& record, RecordType type, Reply& reply) {
    Reader reader(message);
    reader.go_to(record.data);
    if (type == RecordType::mx) {
        const unsigned preference = reader.number16();
        Name host = reader.name();
        if (reader.failed() || reader.at() != record.data + record.data_size) {
            return false;
        }
        if (!host.odd && (host.text.empty() || is_host_name(host.text))) {
            reply.exchanges.push_back(
                {static_cast<std::uint16_t>(preference), std::move(host.text)});
        }
        return true;
    }
    if (record.data_size != (type == RecordType::a ? 4 : 16)) {
        return false;
    }
    const auto address = base::IpAddress::from(reader.octets(record.data_size));
    if (is_host_address(address)) {
        reply.addresses.push_back(address);
    }
    return true;
}

template <class T, class Less>
void put_in_order(std::vector<T>& values, std::size_t most, Less less) {
    std::sort(values.begin(), values.end(), less);
    values.erase(std::unique(values.begin(), values.end()), values.end());
    values.resize(std::min(values.size(), most));
}

/// The name's own records of that type, or nullopt: there is none. `name` follows the aliases.
std::optional<Reply> find_records(
    std::string_view message,
    const std::vector<Record>& answers,
    RecordType type,
    std::string& name,
    std::uint32_t& ttl_s,
    bool& broken) {
    for (std::size_t aliases = 0; aliases <= aliases_max; ++aliases) {
        Reply reply;
        bool found = false;
        const Record* alias = nullptr;
        for (const Record& record : answers) {
            if (!record.owner.is(name)) {
                continue;
            }
            if (record.type == static_cast<unsigned>(type)) {
                found = true;
                ttl_s = std::min(ttl_s, record.ttl_s);
                broken = broken || !add_record(message, record, type, reply);
            } else if (record.type == type_cname && alias == nullptr) {
                alias = &record;
            }
        }
        if (found) {
            return reply;
        }
        if (alias == nullptr) {
            return std::nullopt;
        }
        Reader reader(message);
        reader.go_to(alias->data);
        Name target = reader.name();
        broken = broken || reader.failed() || target.odd ||
                 reader.at() != alias->data + alias->data_size;
        ttl_s = std::min(ttl_s, alias->ttl_s);
        name = std::move(target.text);
    }
    broken = true;  // aliases that lead to one another
    return std::nullopt;
}

/// The time for which a "no" holds: RFC 2308, 5. nullopt: none is stated.
std::optional<std::uint32_t> negative_ttl(
    std::string_view message, const std::vector<Record>& authority, bool& broken) {
    for (const Record& record : authority) {
        if (record.type == type_soa) {
            Reader reader(message);
            reader.go_to(record.data);
            reader.name();
            reader.name();
            reader.octets(16);  // serial, refresh, retry, expire
            const std::uint32_t minimum = reader.number32();
            broken = broken || reader.failed() || reader.at() != record.data + record.data_size;
            return std::min(record.ttl_s, minimum);
        }
    }
    return std::nullopt;
}

}  // namespace

const char* name_of(RecordType type) {
    switch (type) {
        case RecordType::a:
            return "A";
        case RecordType::mx:
            return "MX";
        case RecordType::aaaa:
            return "AAAA";
    }
    return "";
}

Reply parse_reply(std::string_view message, std::string_view name, RecordType type) {
    if (message.size() < header_octets) {
        return malformed();
    }
    Reader reader(message);
    reader.number16();  // the identity; whoever received the message has compared it
    const unsigned flags = reader.number16();
    const unsigned questions = reader.number16();
    const unsigned answer_count = reader.number16();
    const unsigned authority_count = reader.number16();
    reader.number16();  // additional: not looked at
    if ((flags & flag_response) == 0 || (flags & opcode_bits) != 0 || questions != 1) {
        return failure("what came is no answer");
    }
    const Name asked = reader.name();
    const unsigned asked_type = reader.number16();
    const unsigned asked_class = reader.number16();
    if (reader.failed()) {
        return malformed();
    }
    if (!asked.is(name) || asked_type != static_cast<unsigned>(type) ||
        asked_class != class_internet) {
        return failure("the answer is to another question");
    }
    if ((flags & flag_truncated) != 0) {
        return failure("the answer is truncated");
    }
    const unsigned rcode = flags & rcode_bits;
    if (rcode != rcode_no_error && rcode != rcode_no_such_name) {
        return failure("the server has trouble");
    }
    const std::vector<Record> answers = read_section(reader, answer_count);
    const std::vector<Record> authority = read_section(reader, authority_count);
    if (reader.failed()) {
        return malformed();
    }

    std::string owner(name);
    std::uint32_t ttl_s = 0x7fffffff;
    bool broken = false;
    std::optional<Reply> found = find_records(message, answers, type, owner, ttl_s, broken);
    const std::optional<std::uint32_t> no_ttl = negative_ttl(message, authority, broken);
    if (broken || (found && rcode == rcode_no_such_name)) {
        return malformed();
    }
    if (!found) {
        const bool servers = std::any_of(
            authority.begin(), authority.end(), [](const Record& r) { return r.type == type_ns; });
        // RFC 2308, 2.2: servers alone are a referral, by one who does not look further for us.
        if (rcode == rcode_no_error && servers && !no_ttl) {
            return failure("the server names others instead of asking them");
        }
        Reply none;
        none.kind =
            rcode == rcode_no_such_name ? Reply::Kind::no_such_name : Reply::Kind::no_records;
        none.ttl_s = std::min(ttl_s, no_ttl.value_or(no_ttl_s));
        return none;
    }
    found->kind = Reply::Kind::records;
    found->ttl_s = ttl_s;
    put_in_order(found->addresses);
    put_in_order(found->exchanges, exchanges_max, std::less<>());
    return *found;
}

void put_in_order(std::vector<base::IpAddress>& addresses) {
    put_in_order(addresses, addresses_max, [](const base::IpAddress& a, const base::IpAddress& b) {
        return a.octets < b.octets;
    });
}

}  // namespace postern::names
