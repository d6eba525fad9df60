#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load/content.h"
#include "postern/base/result.h"

/// What is sent: message number N and its recipients, always the same for the same options, so
/// nothing needs to be remembered of a message but its number. Made before the load begins and not
/// changed after; any thread.
namespace postern::bench {

struct MessageOptions {
    std::uint64_t size = 4096;  // octets of a generated message
    std::string folder;         // not empty: its files are sent instead, octet for octet
    bool repaired = false;  // the gateway repairs bare CR and LF: sums are of the repaired content
    bool data = true;       // the wire form for DATA, dots stuffed; else for BDAT
    std::uint32_t run = 0;  // this run's number
};

/// Views into the set and into the caller's `head`.
struct Message {
    std::string_view head;  // changes from message to message; empty for files
    std::string_view body;  // what follows, in wire form: for DATA with the final dot
    Sums sums;              // of the content, whatever its wire form
    bool eight_bit = false;

    std::uint64_t size() const { return sums.size; }
};

class MessageSet {
   public:
    static base::Result<MessageSet> create(const MessageOptions& options);
    /// `head` is the caller's memory, overwritten.
    Message message(std::uint64_t number, std::string& head) const;

    std::size_t variants() const { return variants_.size(); }

   private:
    struct Variant {
        std::string wire;
        Sums sums;
        bool eight_bit;
    };

    base::Result<void> read_folder();
    void generate();
    void add(const std::string& content);
    MessageOptions options_;
    std::vector<Variant> variants_;
};

struct RecipientOptions {
    std::vector<std::string> domains = {"example.com"};
    std::string pattern =
        "r%n.%i@%d";  // %n the message's number, %i the recipient's place in it, %d a domain
    unsigned per_message = 1;
    bool random = false;  // domains at random under `seed`, else in turn
    std::uint64_t seed = 1;
};

class RecipientPlan {
   public:
    explicit RecipientPlan(RecipientOptions options) : options_(std::move(options)) {}

    unsigned per_message() const { return options_.per_message; }

    /// Appends the address of recipient `index` of message `number`.
    void append(std::string& to, std::uint64_t number, unsigned index) const;

   private:
    RecipientOptions options_;
};

/// One name a line; blank lines and lines that begin with # are left out.
base::Result<std::vector<std::string>> read_domains(const std::string& path);

/// A number that looks random for each `x`: the same for the same x, everywhere.
inline std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/// The next number that looks random, from 0 to below 1.
inline double chance(std::uint64_t& state) {
    state = mix(state);
    return static_cast<double>(state >> 11) * 0x1p-53;
}

}  // namespace postern::bench
