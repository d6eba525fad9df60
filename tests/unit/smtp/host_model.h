#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "postern/smtp/client_session.h"

/// For tests: messages made from plain strings, and a smart host written the obvious way.
namespace postern::smtp::test {

struct Random {
    std::uint64_t state;

    std::uint64_t next() {  // splitmix64
        std::uint64_t z = (state += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    std::size_t below(std::size_t bound) { return next() % bound; }

    bool chance(unsigned percent) { return below(100) < percent; }
};

struct Pools {
    explicit Pools(std::uint32_t tail_octets = 4096) : tail(tail_octets, 100000) {}

    base::BlockPool arena{4096, 100000};
    base::BlockPool tail;
    base::BlockPool chain{512, 100000};
    base::BlockPool partial{16384, 16};
};

/// A message and what became of it.
struct Message : Transfer {
    Message(
        Pools& pools,
        std::string_view from,
        const std::vector<std::string>& to,
        std::string_view content,
        Random* splits = nullptr)
        : made(pools.arena, pools.tail, pools.chain), body(content) {
        submission = &made;
        made.envelope.reverse_path = *made.arena.copy(from);
        for (const std::string& address : to) {
            add(address);
        }
        // As a receiver would lay it: in runs that end anywhere.
        bool line_begin = true;
        while (!content.empty()) {
            const std::size_t size =
                splits == nullptr ? content.size()
                                  : 1 + splits->below(std::min<std::size_t>(content.size(), 40));
            const std::string_view run = content.substr(0, size);
            bool has_dot = false;
            bool at_begin = line_begin;
            for (const char c : run) {
                has_dot = has_dot || (at_begin && c == '.');
                at_begin = c == '\n';
                made.has_eight_bit = made.has_eight_bit || (c & 0x80) != 0;
            }
            if (!made.body.append_copy(run, line_begin, has_dot)) {
                std::abort();
            }
            line_begin = at_begin;
            content.remove_prefix(size);
        }
    }

    mail::Recipient& add(std::string_view address) {
        mail::Recipient* r = made.arena.make<mail::Recipient>();
        r->address = *made.arena.copy(address);
        const std::size_t at = r->address.rfind('@');
        r->local_part = r->address.substr(0, at);
        r->domain = at == std::string_view::npos ? "" : r->address.substr(at + 1);
        r->domain_key = r->domain;
        made.envelope.add(*r);
        return *r;
    }

    mail::Submission made;
    std::string body;
    std::vector<Verdict::Kind> verdicts;
    std::string reply;  // "250 2.0.0 text"
    int released = 0;
    bool gone = false;
    bool given_up = false;
    int held_times = 0;
};

inline std::string text_of(const mail::Reply& reply) {
    return std::to_string(reply.code) + " " + std::to_string(reply.enhanced.cls) + "." +
           std::to_string(reply.enhanced.subject) + "." + std::to_string(reply.enhanced.detail) +
           " " + std::string(reply.text);
}

struct Delivery {
    std::string from;
    std::vector<std::string> to;
    std::string body;
    bool operator==(const Delivery&) const = default;
};

struct Refusal {
    std::string from;
    std::string to;
};

/// A smart host: octets in, replies out, each with a roll of the dice. It keeps what it said yes
/// to.
class HostModel {
   public:
    struct Manners {
        std::string helo = "me";
        bool pipelining = true;
        bool chunking = false;
        bool eight_bit_mime = true;
        std::uint64_t size = 0;
        bool helo_only = false;
        unsigned refuse_percent = 0;   // each of MAIL, RCPT, DATA, body
        unsigned trouble_percent = 0;  // the same, with an answer that tells of the host
        unsigned close_percent = 0;    // 421 instead of an answer, and no more
        unsigned garbage_percent = 0;  // something that is no reply
    };

    HostModel(const Manners& manners, Random& random) : manners_(manners), random_(random) {
        out += "220 model ESMTP\r\n";
    }

    std::string out;  // for the client; taken from its front
    std::vector<Delivery> deliveries;
    std::vector<Refusal> refused;  // 5xx to RCPT; 552 is as 452 (RFC 5321, 4.5.3.1.10)
    std::vector<std::string> commands;
    std::string breach;  // what the client did that it must not
    bool closed = false;

    void feed(std::string_view bytes) {
        in_ += bytes;
        while (!closed && breach.empty() && step()) {
        }
    }

   private:
    bool step() {
        if (chunk_left_) {
            if (in_.size() < *chunk_left_) {
                return false;
            }
            body_ = in_.substr(0, *chunk_left_);
            in_.erase(0, *chunk_left_);
            chunk_left_.reset();
            // RFC 3030: a chunk outside a transaction, or with nobody to take it, is refused.
            finish(from_ && !to_.empty());
            return true;
        }
        const std::size_t end = in_.find("\r\n");
        if (end == std::string::npos) {
            return false;
        }
        const std::string line = in_.substr(0, end);
        in_.erase(0, end + 2);
        if (in_data_) {
            if (line == ".") {
                in_data_ = false;
                finish(!to_.empty());
            } else {
                if (line.find_first_of("\r\n") != std::string::npos) {
                    breach = "a bare CR or LF";
                }
                body_ += (line.starts_with('.') ? line.substr(1) : line) + "\r\n";
            }
            return true;
        }
        command(line);
        return true;
    }

    void command(const std::string& line) {
        commands.push_back(line);
        const bool last_of_group =
            !line.starts_with("RSET") && !line.starts_with("MAIL") && !line.starts_with("RCPT");
        const bool behind_body = line.starts_with("BDAT");
        if (!in_.empty() && !behind_body &&
            (!manners_.pipelining || (last_of_group && !line.starts_with("EHLO")))) {
            breach = "something behind " + line + ": " + in_;
            return;
        }
        if (random_.chance(manners_.close_percent) && greeted_) {
            out += "421 4.3.2 bye\r\n";
            closed = true;
            return;
        }
        if (random_.chance(manners_.garbage_percent) && greeted_) {
            out += random_.chance(50) ? "250-one\r\n251 two\r\n" : "hello\r\n";
            closed = true;
            return;
        }
        if (line == "EHLO " + manners_.helo) {
            if (manners_.helo_only) {
                say("502 5.5.1 what");
                return;
            }
            out += "250-model\r\n";
            if (manners_.pipelining) {
                out += "250-PIPELINING\r\n";
            }
            if (manners_.chunking) {
                out += "250-chunking\r\n";
            }
            if (manners_.eight_bit_mime) {
                out += "250-8BITMIME\r\n";
            }
            if (manners_.size > 0) {
                out += "250-SIZE " + std::to_string(manners_.size) + "\r\n";
            }
            say("250 HELP");
            greeted_ = true;
        } else if (line == "HELO " + manners_.helo && manners_.helo_only) {
            say("250 model");
            greeted_ = true;
        } else if (line == "QUIT") {
            say("221 2.0.0 bye");
            closed = true;
        } else if (line == "RSET") {
            from_.reset();
            to_.clear();
            say("250 2.0.0 reset");
        } else if (line.starts_with("MAIL FROM:<")) {
            if (from_) {
                breach = "MAIL inside a transaction";
            }
            if (roll()) {
                from_ = between(line);
                say("250 2.1.0 sender");
            }
        } else if (line.starts_with("RCPT TO:<")) {
            if (!from_) {
                say("503 5.5.1 no MAIL");
            } else if (const std::size_t before = out.size(); roll()) {
                to_.push_back(between(line));
                say("250 2.1.5 recipient");
            } else if (out[before] == '5' && out.compare(before, 3, "552") != 0) {
                refused.push_back({*from_, between(line)});
            }
        } else if (line == "DATA" && !manners_.chunking) {
            body_.clear();
            // Some hosts take the data even with no recipient.
            if (!from_ || (to_.empty() && random_.chance(50))) {
                say("554 5.5.1 no valid recipients");
            } else if (roll()) {
                in_data_ = true;
                say("354 go");
            }
        } else if (line.starts_with("BDAT ") && line.ends_with(" LAST") && manners_.chunking) {
            chunk_left_ = std::stoull(line.substr(5));
        } else {
            breach = "an unknown command: " + line;
        }
    }

    void finish(bool can_deliver) {
        if (!in_.empty() && !manners_.pipelining) {
            breach = "something behind a body: " + in_;
        }
        if (!can_deliver) {
            say("554 5.5.1 nobody to deliver to");
        } else if (roll()) {
            deliveries.push_back({*from_, to_, body_});
            say("250 2.0.0 taken");
            from_.reset();
            to_.clear();
            return;
        }
        if (!manners_.chunking) {
            from_.reset();
            to_.clear();
        }
    }

    // True: yes. Else a refusal has been said.
    bool roll() {
        if (random_.chance(manners_.trouble_percent)) {
            static constexpr const char* troubles[] = {
                "521 5.3.2 no mail here", "530 5.7.0 who are you", "555 5.5.4 what"};
            say(troubles[random_.below(std::size(troubles))]);
            return false;
        }
        if (random_.chance(manners_.refuse_percent)) {
            static constexpr const char* refusals[] = {
                "450 4.2.1 later",
                "550 5.1.1 never",
                "552 5.2.2 full",
                "452 4.3.1 no room",
                "554 no"};
            say(refusals[random_.below(std::size(refusals))]);
            return false;
        }
        return true;
    }

    void say(std::string_view text) {
        if (text[0] != '3' && random_.chance(20)) {  // in more lines than one
            out += std::string(text.substr(0, 3)) + "-" + std::string(text.substr(4)) + "\r\n";
        }
        out += std::string(text) + "\r\n";
    }

    static std::string between(const std::string& line) {
        const std::size_t begin = line.find('<') + 1;
        return line.substr(begin, line.find('>', begin) - begin);
    }

    const Manners manners_;
    Random& random_;
    std::string in_;
    bool greeted_ = false;
    bool in_data_ = false;
    std::optional<std::size_t> chunk_left_;
    std::optional<std::string> from_;
    std::vector<std::string> to_;
    std::string body_;
};

}  // namespace postern::smtp::test
