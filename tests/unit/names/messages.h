#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "message.h"

/// DNS messages, built octet by octet, and well or badly as a test wants them.
namespace postern::names {

inline std::string number16(unsigned value) {
    return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

inline std::string number32(std::uint32_t value) {
    return number16(value >> 16) + number16(value & 0xffff);
}

/// "www.example.net" as labels.
inline std::string wire(std::string_view name) {
    std::string octets;
    while (!name.empty()) {
        const std::string_view label = name.substr(0, name.find('.'));
        octets += static_cast<char>(label.size());
        octets += label;
        name.remove_prefix(std::min(name.size(), label.size() + 1));
    }
    return octets + '\0';
}

inline std::string pointer(std::size_t target) {
    return number16(0xc000U | static_cast<unsigned>(target));
}

inline std::string octets_of(std::string_view address) {
    const auto parsed = base::IpAddress::parse(address);
    return {reinterpret_cast<const char*>(parsed->octets.data()), parsed->size};
}

constexpr unsigned type_a = 1;
constexpr unsigned type_ns = 2;
constexpr unsigned type_cname = 5;
constexpr unsigned type_soa = 6;
constexpr unsigned type_mx = 15;
constexpr unsigned type_aaaa = 28;
constexpr std::size_t question_at = 12;

class Message {
   public:
    Message(std::string_view name, RecordType type)
        : question_(wire(name) + number16(static_cast<unsigned>(type)) + number16(1)) {}

    Message& flags(unsigned flags) {
        flags_ = flags;
        return *this;
    }

    Message& rcode(unsigned rcode) { return flags(0x8180 | rcode); }

    Message& questions(unsigned count) {
        questions_ = count;
        return *this;
    }

    /// `owner`: as octets, so that it may be a pointer.
    Message& record(
        const std::string& owner,
        unsigned type,
        std::uint32_t ttl_s,
        const std::string& data,
        unsigned record_class = 1) {
        ++answers_;
        sections_ += owner + number16(type) + number16(record_class) + number32(ttl_s) +
                     number16(static_cast<unsigned>(data.size())) + data;
        return *this;
    }

    Message& a(std::string_view owner, std::uint32_t ttl_s, std::string_view address) {
        return record(wire(owner), type_a, ttl_s, octets_of(address));
    }

    Message& aaaa(std::string_view owner, std::uint32_t ttl_s, std::string_view address) {
        return record(wire(owner), type_aaaa, ttl_s, octets_of(address));
    }

    Message& cname(std::string_view owner, std::uint32_t ttl_s, std::string_view target) {
        return record(wire(owner), type_cname, ttl_s, wire(target));
    }

    Message& mx(
        std::string_view owner, std::uint32_t ttl_s, unsigned preference, std::string_view host) {
        return record(wire(owner), type_mx, ttl_s, number16(preference) + wire(host));
    }

    /// What stands behind is in the authority section.
    Message& authority() {
        answers_of_authority_ = answers_;
        in_authority_ = true;
        return *this;
    }

    Message& soa(std::string_view owner, std::uint32_t ttl_s, std::uint32_t minimum_s) {
        return record(
            wire(owner),
            type_soa,
            ttl_s,
            wire("ns.example.net") + wire("root.example.net") + std::string(16, '\1') +
                number32(minimum_s));
    }

    std::string octets() const {
        const unsigned answers = in_authority_ ? answers_of_authority_ : answers_;
        return number16(0x1234) + number16(flags_) + number16(questions_) + number16(answers) +
               number16(answers_ - answers) + number16(0) + question_ + sections_;
    }

   private:
    std::string question_;
    std::string sections_;
    unsigned flags_ = 0x8180;
    unsigned questions_ = 1;
    unsigned answers_ = 0;
    unsigned answers_of_authority_ = 0;
    bool in_authority_ = false;
};

}  // namespace postern::names
