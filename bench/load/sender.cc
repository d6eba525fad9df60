#include "bench/load/sender.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "postern/base/assert.h"

namespace postern::bench {

namespace {

constexpr std::size_t reply_line_max = 4096;

bool starts_with_word(std::string_view line, std::string_view word) {
    if (line.size() < word.size() || (line.size() > word.size() && line[word.size()] != ' ')) {
        return false;
    }
    return std::equal(word.begin(), word.end(), line.begin(), [](char a, char b) {
        return a == (b >= 'a' && b <= 'z' ? b - 'a' + 'A' : b);
    });
}

}  // namespace

void Outgoing::add(Piece piece) {
    size_ += piece.size;
    if (piece.size == 0) {
        return;
    }
    if (piece.memory == nullptr && !pieces_.empty() && pieces_.back().memory == nullptr) {
        pieces_.back().size += piece.size;
    } else {
        pieces_.push_back(piece);
    }
}

void Outgoing::pieces(std::vector<iovec>& into) {
    into.clear();
    for (const Piece& piece : pieces_) {
        const char* memory = piece.memory != nullptr ? piece.memory : text_.data() + piece.offset;
        into.push_back({const_cast<char*>(memory), piece.size});
    }
}

void Sender::connected() {
    next_ = Next::ehlo;
    over_ = wants_tls_ = secured_ = false;
    line_.clear();
    offers_starttls_ = offers_pipelining_ = offers_chunking_ = offers_size_ = offers_8bit_ = false;
    pipelined_ = false;
    reset_needed_ = false;
    awaited_.clear();
    answered_ = 0;
    await(Step::greeting);
}

/// What was offered before counts no more (RFC 3207, 4.2).
void Sender::secured() {
    wants_tls_ = false;
    secured_ = true;
    offers_pipelining_ = offers_chunking_ = offers_size_ = offers_8bit_ = false;
    next_ = Next::ehlo;
}

bool Sender::consume(std::string_view bytes) {
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        if (end == std::string_view::npos || !line_.empty()) {
            const std::size_t taken = std::min(end, bytes.size() - 1) + 1;
            line_ += bytes.substr(0, taken);
            bytes.remove_prefix(taken);
            if (line_.size() > reply_line_max) {
                return false;
            }
            if (end == std::string_view::npos) {
                return true;
            }
            if (!on_line(line_)) {
                return false;
            }
            line_.clear();
            continue;
        }
        if (!on_line(bytes.substr(0, end + 1))) {
            return false;
        }
        bytes.remove_prefix(end + 1);
    }
    return true;
}

bool Sender::on_line(std::string_view line) {
    if (!line.ends_with("\r\n")) {
        return false;
    }
    line.remove_suffix(2);
    const auto digit = [&line](std::size_t i) { return line[i] >= '0' && line[i] <= '9'; };
    if (line.size() < 3 || line[0] < '2' || line[0] > '5' || !digit(1) || !digit(2) ||
        (line.size() > 3 && line[3] != ' ' && line[3] != '-')) {
        return false;
    }
    const int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    if (awaiting() > 0 && awaited_[answered_] == Step::ehlo && line.size() > 4) {
        const std::string_view keyword = line.substr(4);
        offers_starttls_ |= starts_with_word(keyword, "STARTTLS");
        offers_pipelining_ |= starts_with_word(keyword, "PIPELINING");
        offers_chunking_ |= starts_with_word(keyword, "CHUNKING");
        offers_size_ |= starts_with_word(keyword, "SIZE");
        offers_8bit_ |= starts_with_word(keyword, "8BITMIME");
    }
    return (line.size() > 3 && line[3] == '-') || on_reply(code);
}

bool Sender::on_reply(int code) {
    if (awaiting() == 0) {
        answers_.count(Step::other, code);
        over_ = true;
        return false;
    }
    const Step step = awaited_[answered_++];
    if (awaiting() == 0) {
        awaited_.clear();
        answered_ = 0;
    }
    answers_.count(step, code);
    const bool good = code / 100 == 2;
    switch (step) {
        case Step::greeting:
            over_ = !good;
            break;
        case Step::ehlo:
            if (options_.starttls && !secured_) {
                over_ = !good || !offers_starttls_;
                next_ = Next::starttls;
                break;
            }
            over_ = !good || (options_.bdat && !offers_chunking_);
            pipelined_ = options_.pipelining && offers_pipelining_;
            break;
        case Step::starttls:
            over_ = code != 220;
            wants_tls_ = !over_;
            break;
        case Step::mail:
        case Step::bdat:
            if (!good) {
                fail(code);
            }
            break;
        case Step::rcpt:
            on_rcpt_reply(code);
            break;
        case Step::data:
            data_code_ = code;
            if (code != 354) {
                fail(code);
            }
            break;
        case Step::body:
            body_answered_ = true;
            if (!good) {
                fail(code);
            }
            break;
        case Step::quit:
            over_ = true;
            break;
        case Step::rset:
        case Step::other:
            break;
    }
    return true;
}

void Sender::on_rcpt_reply(int code) {
    if (code / 100 != 2) {
        refused_.push_back(rcpts_answered_);
        first_rcpt_refusal_ = first_rcpt_refusal_ == 0 ? code : first_rcpt_refusal_;
    }
    ++rcpts_answered_;
    if (rcpts_answered_ == options_.recipients->per_message() &&
        refused_.size() == rcpts_answered_) {
        fail(first_rcpt_refusal_);
    }
}

void Sender::begin(const Message& message, std::uint64_t number) {
    POSTERN_ASSERT(ready(), "a message began while another was under way");
    message_ = message;
    number_ = number;
    rcpts_produced_ = rcpts_answered_ = 0;
    refused_.clear();
    first_rcpt_refusal_ = failure_ = data_code_ = 0;
    content_offset_ = 0;
    content_produced_ = body_answered_ = false;
    next_ = reset_needed_ ? Next::rset : Next::mail;
    reset_needed_ = false;
}

Sender::Verdict Sender::verdict() const {
    if (failure_ != 0) {
        return Verdict::refused;
    }
    if (body_answered_) {
        return Verdict::accepted;
    }
    return content_produced_ ? Verdict::unknown : Verdict::unsent;
}

void Sender::finish() {
    reset_needed_ = !body_answered_;
    next_ = Next::finished;
}

void Sender::produce(Outgoing& out) {
    while (!over_ && produce_one(out)) {
    }
}

/// False: nothing can be sent now. The commands of a group go out together where the peer pipelines
/// (RFC 2920); DATA ends a group, and so does each step where it does not.
bool Sender::produce_one(Outgoing& out) {
    switch (next_) {
        case Next::nothing:
        case Next::finished:
            return false;
        case Next::ehlo:
            if (awaiting() > 0) {
                return false;
            }
            out.begin_text().append("EHLO ").append(options_.helo).append("\r\n");
            out.end_text();
            await(Step::ehlo);
            next_ = Next::nothing;
            return false;
        case Next::starttls:
            out.begin_text().append("STARTTLS\r\n");
            out.end_text();
            await(Step::starttls);
            next_ = Next::nothing;
            return false;
        case Next::rset:
            out.begin_text().append("RSET\r\n");
            out.end_text();
            await(Step::rset);
            next_ = Next::mail;
            return true;
        case Next::mail:
            if (!may_send()) {
                return false;
            }
            produce_mail(out);
            next_ = Next::rcpt;
            return true;
        case Next::rcpt:
            if (!may_send()) {
                return false;
            }
            if (failure_ != 0 && awaiting() == 0) {
                finish();
                return false;
            }
            produce_rcpt(out);
            if (rcpts_produced_ == options_.recipients->per_message()) {
                next_ = options_.bdat ? Next::chunk : Next::data;
            }
            return true;
        case Next::data:
            if (!may_send()) {
                return false;
            }
            if (failure_ != 0 && awaiting() == 0) {
                finish();
                return false;
            }
            out.begin_text().append("DATA\r\n");
            out.end_text();
            await(Step::data);
            next_ = Next::content;
            return true;
        case Next::content:
            if (awaiting() > 0) {
                return false;
            }
            if (data_code_ != 354) {
                finish();
                return false;
            }
            if (failure_ != 0) {
                // Everything was refused, and yet the data are asked for (RFC 2920, 3.1): an empty
                // message ends it.
                out.begin_text().append(".\r\n");
                out.end_text();
            } else {
                out.refer(message_.head);
                out.refer(message_.body);
                content_produced_ = true;
            }
            await(Step::body);
            next_ = Next::verdict;
            return true;
        case Next::chunk:
            if (!may_send()) {
                return false;
            }
            if (failure_ != 0 && awaiting() == 0) {
                finish();
                return false;
            }
            produce_chunk(out);
            return true;
        case Next::verdict:
            if (awaiting() == 0) {
                finish();
            }
            return false;
        case Next::quit:
            out.begin_text().append("QUIT\r\n");
            out.end_text();
            await(Step::quit);
            next_ = Next::nothing;
            return false;
    }
    return false;
}

void Sender::produce_mail(Outgoing& out) {
    std::string& text = out.begin_text();
    text += "MAIL FROM:<";
    append_local_part(text, {options_.run, number_, message_.sums});
    text.append("@").append(options_.from_domain).append(">");
    if (offers_size_) {
        fmt::format_to(std::back_inserter(text), FMT_STRING(" SIZE={}"), message_.size());
    }
    if (offers_8bit_ && message_.eight_bit) {
        text += " BODY=8BITMIME";
    }
    text += "\r\n";
    out.end_text();
    await(Step::mail);
}

void Sender::produce_rcpt(Outgoing& out) {
    std::string& text = out.begin_text();
    text += "RCPT TO:<";
    options_.recipients->append(text, number_, rcpts_produced_++);
    text += ">\r\n";
    out.end_text();
    await(Step::rcpt);
}

void Sender::produce_chunk(Outgoing& out) {
    const std::uint64_t total = message_.head.size() + message_.body.size();
    const std::uint64_t left = total - content_offset_;
    const std::uint64_t size =
        options_.chunk_size == 0 ? left : std::min(left, options_.chunk_size);
    const bool last = size == left;
    fmt::format_to(
        std::back_inserter(out.begin_text()),
        FMT_STRING("BDAT {}{}\r\n"),
        size,
        last ? " LAST" : "");
    out.end_text();
    const std::uint64_t in_head = content_offset_ < message_.head.size()
                                      ? std::min(size, message_.head.size() - content_offset_)
                                      : 0;
    if (in_head > 0) {
        out.refer(message_.head.substr(content_offset_, in_head));
    }
    if (size > in_head) {
        out.refer(
            message_.body.substr(content_offset_ + in_head - message_.head.size(), size - in_head));
    }
    content_offset_ += size;
    await(last ? Step::body : Step::bdat);
    if (last) {
        content_produced_ = true;
        next_ = Next::verdict;
    }
}

}  // namespace postern::bench
