#include "postern/mail/domain.h"

#include <arpa/inet.h>
#include <idn2.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace postern::mail {

namespace {

/// What an octet may do in a domain: its lower-case form, or one of these; 0: nothing.
constexpr unsigned char dot = 1;
constexpr unsigned char hyphen = 2;

constexpr auto octet_class = [] {
    std::array<unsigned char, 256> table{};
    for (unsigned c = 'a'; c <= 'z'; ++c) {
        table[c] = static_cast<unsigned char>(c);
        table[c - 'a' + 'A'] = static_cast<unsigned char>(c);
    }
    for (unsigned c = '0'; c <= '9'; ++c) {
        table[c] = static_cast<unsigned char>(c);
    }
    table['_'] = '_';  // no host name (RFC 952), but names that mail is sent to hold it
    table['-'] = hyphen;
    table['.'] = dot;
    return table;
}();

bool fail(DomainFault* fault, const char* what, std::size_t at) {
    if (fault != nullptr) {
        *fault = {what, at};
    }
    return false;
}

bool make_ascii_key(std::string_view domain, DomainKey& key, DomainFault* fault) {
    if (!domain.empty() && domain.back() == '.') {
        domain.remove_suffix(1);
    }
    if (domain.empty()) {
        return fail(fault, "the domain is empty", 0);
    }
    if (domain.size() > domain_octets_max) {
        return fail(fault, "the name is longer than 253 octets", domain_octets_max);
    }
    std::size_t label = 0;  // where the current label begins
    unsigned labels = 1;
    bool all_digits = true;
    for (std::size_t i = 0; i < domain.size(); ++i) {
        unsigned char c = octet_class[static_cast<unsigned char>(domain[i])];
        if (c > hyphen) {
            all_digits &= c <= '9';
        } else if (c == dot) {
            if (i == label) {
                return fail(fault, "a label is empty", i);
            }
            if (domain[i - 1] == '-') {
                return fail(fault, "a label ends in a hyphen", i - 1);
            }
            if (i - label > label_octets_max) {
                return fail(fault, "a label is longer than 63 octets", label);
            }
            label = i + 1;
            ++labels;
            all_digits = true;
            c = '.';
        } else if (c == hyphen) {
            if (i == label) {
                return fail(fault, "a label begins with a hyphen", i);
            }
            all_digits = false;
            c = '-';
        } else {
            return fail(fault, "a domain has letters, digits, hyphens and dots only", i);
        }
        key.octets[i] = static_cast<char>(c);
    }
    if (label == domain.size()) {
        return fail(fault, "a label is empty", domain.size());
    }
    if (domain.back() == '-') {
        return fail(fault, "a label ends in a hyphen", domain.size() - 1);
    }
    if (domain.size() - label > label_octets_max) {
        return fail(fault, "a label is longer than 63 octets", label);
    }
    if (all_digits) {  // RFC 3696, 2: no top-level domain is; this is an address without its
                       // brackets
        return fail(fault, "the last label is a number; an address stands in brackets", label);
    }
    key.size = static_cast<std::uint8_t>(domain.size());
    key.label_count = static_cast<std::uint8_t>(labels);
    return true;
}

bool make_idn_key(std::string_view domain, DomainKey& key, DomainFault* fault) {
    // A U-label is at most four octets for each of its A-label's; whatever is longer cannot fit,
    // and need not be converted.
    std::array<char, 4 * domain_octets_max + 1> text;
    if (domain.size() >= text.size()) {
        return fail(fault, "the name is longer than 253 octets", domain_octets_max);
    }
    std::memcpy(text.data(), domain.data(), domain.size());
    text[domain.size()] = '\0';
    if (std::memchr(text.data(), '\0', domain.size()) != nullptr) {
        return fail(fault, "a domain has letters, digits, hyphens and dots only", 0);
    }
    std::uint8_t* converted = nullptr;
    int outcome = idn2_lookup_u8(
        reinterpret_cast<const std::uint8_t*>(text.data()),
        &converted,
        IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    std::unique_ptr<char, void (*)(void*)> a_labels(reinterpret_cast<char*>(converted), idn2_free);
    if (outcome != IDN2_OK) {
        return fail(fault, "the name is not a valid internationalised one (IDNA 2008)", 0);
    }
    if (!make_ascii_key(a_labels.get(), key, fault)) {
        if (fault != nullptr) {
            fault->at = 0;  // places in the A-label form are none in the text
        }
        return false;
    }
    return true;
}

/// "192.0.2.7"; leading zeros allowed, as RFC 5321, 4.1.3 does. Decimal: an octal reading is
/// nobody's in mail.
bool parse_v4(std::string_view text, in_addr& address) {
    std::uint32_t value = 0;
    int parts = 0;
    for (std::size_t i = 0;; ++i) {
        std::size_t begin = i;
        unsigned part = 0;
        while (i < text.size() && text[i] >= '0' && text[i] <= '9' && i - begin < 3) {
            part = part * 10 + static_cast<unsigned>(text[i++] - '0');
        }
        if (i == begin || part > 255) {
            return false;
        }
        value = value << 8 | part;
        ++parts;
        if (i == text.size()) {
            break;
        }
        if (text[i] != '.' || parts == 4) {
            return false;
        }
    }
    address.s_addr = htonl(value);
    return parts == 4;
}

bool make_literal_key(std::string_view domain, DomainKey& key, DomainFault* fault) {
    constexpr const char* allowed = "an address literal is [192.0.2.7] or [IPv6:2001:db8::7]";
    constexpr std::string_view tag = "ipv6:";
    if (domain.size() < 3 || domain.back() != ']') {
        return fail(fault, allowed, 0);
    }
    std::string_view inner = domain.substr(1, domain.size() - 2);
    char text[INET6_ADDRSTRLEN];
    bool v6 = inner.size() > tag.size() && strncasecmp(inner.data(), tag.data(), tag.size()) == 0;
    in_addr v4_address;
    if (v6) {
        inner.remove_prefix(tag.size());
        in6_addr address;
        if (inner.size() >= sizeof text) {
            return fail(fault, allowed, 0);
        }
        inner.copy(text, inner.size());
        text[inner.size()] = '\0';
        if (std::memchr(text, '\0', inner.size()) != nullptr ||
            inet_pton(AF_INET6, text, &address) != 1) {
            return fail(fault, allowed, 0);
        }
        inet_ntop(AF_INET6, &address, text, sizeof text);
    } else if (parse_v4(inner, v4_address)) {
        inet_ntop(AF_INET, &v4_address, text, sizeof text);
    } else {
        return fail(fault, allowed, 0);
    }
    std::size_t size = 0;
    auto put = [&](std::string_view piece) {
        piece.copy(key.octets.data() + size, piece.size());
        size += piece.size();
    };
    put("[");
    put(v6 ? tag : std::string_view());
    put(text);
    put("]");
    key.size = static_cast<std::uint8_t>(size);
    key.label_count = 0;
    return true;
}

}  // namespace

bool is_v4_address(std::string_view text) {
    in_addr address;
    return parse_v4(text, address);
}

bool make_domain_key(std::string_view domain, DomainKey& key, DomainFault* fault) {
    if (!domain.empty() && domain.front() == '[') {
        return make_literal_key(domain, key, fault);
    }
    unsigned char all = 0;
    for (char c : domain) {
        all |= static_cast<unsigned char>(c);
    }
    return all < 0x80 ? make_ascii_key(domain, key, fault) : make_idn_key(domain, key, fault);
}

}  // namespace postern::mail
