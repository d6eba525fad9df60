#include "bench/load/receiver.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace postern::bench {

namespace {

constexpr std::size_t command_line_max = 4096;  // RFC 5321's 512 with generous room for extensions

bool equal_ignoring_case(std::string_view a, std::string_view upper) {
    return a.size() == upper.size() &&
           std::equal(a.begin(), a.end(), upper.begin(), [](char x, char y) {
               return (x >= 'a' && x <= 'z' ? x - 'a' + 'A' : x) == y;
           });
}

std::string_view take_word(std::string_view& text) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

bool parse_size(std::string_view text, std::uint64_t& size) {
    const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    return error == std::errc() && stopped == text.data() + text.size();
}

/// "FROM:<path> rest": the path without its brackets, and the rest without the blank in front.
/// Quoted pairs and strings may hold a bracket.
bool take_path(
    std::string_view arguments,
    std::string_view prefix,
    std::string_view& path,
    std::string_view& rest) {
    if (!equal_ignoring_case(arguments.substr(0, prefix.size()), prefix)) {
        return false;
    }
    arguments.remove_prefix(prefix.size());
    if (!arguments.starts_with('<')) {
        return false;
    }
    bool quoted = false;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        if (arguments[i] == '\\') {
            ++i;
        } else if (arguments[i] == '"') {
            quoted = !quoted;
        } else if (arguments[i] == '>' && !quoted) {
            path = arguments.substr(1, i - 1);
            rest = arguments.substr(i + 1);
            return rest.empty() || rest.front() == ' ';
        }
    }
    return false;
}

}  // namespace

void Receiver::connected(std::uint64_t random) {
    state_ = State::command;
    random_ = random;
    pause_ = {};
    line_.clear();
    held_back_.clear();
    greeted_ = said_hello_ = confused_ = wants_tls_ = secured_ = false;
    reset_transaction();
    ++ledger_.counters.connections;
}

void Receiver::reset_transaction() {
    in_transaction_ = refused_ = chunked_ = false;
    identity_.reset();
    delivery_.recipients.clear();
}

void Receiver::violation(std::string_view kind, std::string_view example) {
    if (!confused_) {
        ledger_.violation(kind, example);
    }
}

int Receiver::answer(Step step, int code, std::string_view text, std::string& out) {
    const Misbehaviour chosen = choose(options_.faults, step, random_);
    std::string changed;
    if (chosen.fault && chosen.fault->kind != Fault::Kind::answer) {
        state_ = chosen.fault->kind == Fault::Kind::close ? State::over : State::silent;
        return 0;
    }
    if (chosen.fault) {
        code = chosen.fault->code;
        changed = fmt::format("{} {}.0.0 as told at {}", code, code / 100, name_of(step));
        text = changed;
    }
    ledger_.answers.count(step, code);
    std::string& to = chosen.delay.count() > 0 ? held_back_ : out;
    if (chosen.fault || step != Step::ehlo) {
        to.append(text).append("\r\n");
    } else {
        to.append(text);
    }
    pause_ = chosen.delay;
    if (code == 421) {
        state_ = State::over;
    }
    return code;
}

void Receiver::resume(std::string& out) {
    out += held_back_;
    held_back_.clear();
    pause_ = {};
}

std::size_t Receiver::consume(std::string_view bytes, std::string& out) {
    const std::size_t size = bytes.size();
    if (!greeted_ && state_ == State::command) {
        greeted_ = true;
        welcome_ =
            answer(Step::greeting, 220, fmt::format("220 {} ESMTP sink", options_.hostname), out) ==
            220;
    }
    while (!bytes.empty() && pause_.count() == 0 && state_ != State::over && !wants_tls_) {
        std::size_t taken = 0;
        switch (state_) {
            case State::command:
                taken = consume_line(bytes, out);
                break;
            case State::data:
                taken = consume_data(bytes, out);
                break;
            case State::chunk:
                taken = consume_chunk(bytes, out);
                break;
            case State::silent:
            case State::over:
                taken = bytes.size();
                break;
        }
        bytes.remove_prefix(taken);
    }
    return size - bytes.size();
}

std::size_t Receiver::consume_line(std::string_view bytes, std::string& out) {
    const std::size_t end = bytes.find('\n');
    const std::size_t taken = end == std::string_view::npos ? bytes.size() : end + 1;
    if (end == std::string_view::npos || !line_.empty()) {
        line_ += bytes.substr(0, taken);
        if (line_.size() > command_line_max) {
            violation("command line too long", line_);
            answer(Step::other, 500, "500 5.5.2 line too long", out);
            state_ = State::over;
        } else if (end != std::string_view::npos) {
            const std::string line = std::move(line_);
            line_.clear();
            on_line(line, taken < bytes.size(), out);
        }
    } else {
        on_line(bytes.substr(0, taken), taken < bytes.size(), out);
    }
    return taken;
}

void Receiver::on_line(std::string_view line, bool more_behind, std::string& out) {
    const std::string_view whole = line;
    line.remove_suffix(1);
    const bool ends_in_cr = line.ends_with('\r');
    line.remove_suffix(ends_in_cr ? 1 : 0);
    if (!ends_in_cr || line.find('\r') != std::string_view::npos) {
        violation("bare CR or LF in a command", whole);
    }
    on_command(line, more_behind, out);
}

void Receiver::on_command(std::string_view line, bool more_behind, std::string& out) {
    const std::string_view whole = line;
    const std::string_view verb = take_word(line);
    const bool is_bdat = equal_ignoring_case(verb, "BDAT") && !options_.break_chunking;
    bool ends_group = false;  // RFC 2920, 3.1: nothing may follow in the same group
    if (equal_ignoring_case(verb, "EHLO") || equal_ignoring_case(verb, "HELO")) {
        ends_group = true;
        on_ehlo(equal_ignoring_case(verb, "EHLO"), out);
    } else if (equal_ignoring_case(verb, "STARTTLS") && options_.starttls) {
        ends_group = true;
        on_starttls(out);
    } else if (equal_ignoring_case(verb, "MAIL")) {
        on_mail(line, out);
    } else if (equal_ignoring_case(verb, "RCPT")) {
        on_rcpt(line, out);
    } else if (equal_ignoring_case(verb, "DATA")) {
        ends_group = true;
        on_data(out);
    } else if (is_bdat) {
        on_bdat(line, out);
        return;
    } else if (equal_ignoring_case(verb, "RSET")) {
        reset_transaction();
        answer(Step::rset, 250, "250 2.0.0 ok", out);
    } else if (equal_ignoring_case(verb, "NOOP")) {
        ends_group = true;
        answer(Step::other, 250, "250 2.0.0 ok", out);
    } else if (equal_ignoring_case(verb, "QUIT")) {
        ends_group = true;
        answer(Step::quit, 221, "221 2.0.0 bye", out);
        state_ = state_ == State::silent ? State::silent : State::over;
    } else {
        confused_ |= options_.break_chunking && equal_ignoring_case(verb, "BDAT");
        violation("unknown command", whole);
        answer(Step::other, 500, "500 5.5.1 unknown command", out);
    }
    if (more_behind && (ends_group || !options_.pipelining)) {
        violation("pipelined where it may not be", whole);
    }
}

void Receiver::on_ehlo(bool extended, std::string& out) {
    reset_transaction();
    if (!welcome_) {
        answer(Step::ehlo, 503, "503 5.5.1 not now\r\n", out);
        return;
    }
    std::string text = fmt::format("250{}{}\r\n", extended ? '-' : ' ', options_.hostname);
    if (extended) {
        const auto offer = [&text](bool offered, std::string_view keyword) {
            if (offered) {
                text += fmt::format("250-{}\r\n", keyword);
            }
        };
        offer(options_.starttls && !secured_, "STARTTLS");
        offer(options_.pipelining, "PIPELINING");
        offer(options_.chunking, "CHUNKING");
        offer(options_.eight_bit_mime, "8BITMIME");
        offer(options_.smtputf8, "SMTPUTF8");
        offer(options_.size_max > 0, fmt::format("SIZE {}", options_.size_max));
        offer(!options_.limits.empty(), fmt::format("LIMITS {}", options_.limits));
        text += "250 ENHANCEDSTATUSCODES\r\n";
    }
    said_hello_ = answer(Step::ehlo, 250, text, out) == 250;
}

void Receiver::on_starttls(std::string& out) {
    if (secured_ || !said_hello_ || in_transaction_) {
        violation("STARTTLS at the wrong time", "STARTTLS");
        answer(Step::starttls, 503, "503 5.5.1 not now", out);
        return;
    }
    wants_tls_ = answer(Step::starttls, 220, "220 2.0.0 go on", out) == 220;
}

/// The peer has to say everything anew (RFC 3207, 4.2).
void Receiver::secured() {
    wants_tls_ = said_hello_ = false;
    secured_ = true;
}

bool Receiver::parse_parameters(std::string_view text, Parameters& parameters) {
    while (!text.empty()) {
        const std::string_view parameter = take_word(text);
        const std::size_t equals = std::min(parameter.find('='), parameter.size());
        const std::string_view name = parameter.substr(0, equals);
        const std::string_view value = parameter.substr(std::min(equals + 1, parameter.size()));
        if (equal_ignoring_case(name, "SIZE") && options_.size_max > 0 &&
            parse_size(value, parameters.size)) {
            continue;
        }
        if (equal_ignoring_case(name, "BODY") && options_.eight_bit_mime &&
            (equal_ignoring_case(value, "8BITMIME") || equal_ignoring_case(value, "7BIT"))) {
            parameters.eight_bit = equal_ignoring_case(value, "8BITMIME");
            continue;
        }
        if (equal_ignoring_case(parameter, "SMTPUTF8") && options_.smtputf8) {
            parameters.utf8 = true;
            continue;
        }
        violation("parameter that was not offered", parameter);
        return false;
    }
    return true;
}

void Receiver::on_mail(std::string_view arguments, std::string& out) {
    if (in_transaction_ || !said_hello_) {
        if (in_transaction_ || !refused_) {
            violation("MAIL at the wrong time", arguments);
        }
        answer(Step::mail, 503, "503 5.5.1 not now", out);
        return;
    }
    std::string_view path;
    std::string_view rest;
    parameters_ = {};
    if (!take_path(arguments, "FROM:", path, rest)) {
        violation("malformed MAIL", arguments);
        answer(Step::mail, 501, "501 5.5.4 malformed", out);
        refused_ = true;
        return;
    }
    rest.remove_prefix(rest.empty() ? 0 : 1);
    int code = 250;
    std::string_view text = "250 2.1.0 ok";
    if (!parse_parameters(rest, parameters_)) {
        code = 555;
        text = "555 5.5.4 not offered";
    } else if (options_.size_max > 0 && parameters_.size > options_.size_max) {
        code = 552;
        text = "552 5.3.4 too large";
    }
    code = answer(Step::mail, code, text, out);
    reset_transaction();
    in_transaction_ = code == 250;
    refused_ = !in_transaction_;
    identity_ = parse_local_part(path.substr(0, path.find('@')));
    null_sender_ = path.empty();
    stored_.clear();
    content_size_ = 0;
    skipper_.reset(options_.received_lines);
    sum_.reset();
}

void Receiver::on_rcpt(std::string_view arguments, std::string& out) {
    if (!in_transaction_ || chunked_) {
        if (!refused_) {
            violation("RCPT at the wrong time", arguments);
        }
        answer(Step::rcpt, 503, "503 5.5.1 not now", out);
        return;
    }
    std::string_view path;
    std::string_view rest;
    if (!take_path(arguments, "TO:", path, rest) || path.empty() || !rest.empty()) {
        violation("malformed RCPT", arguments);
        answer(Step::rcpt, 501, "501 5.5.4 malformed", out);
        refused_ = true;
        return;
    }
    int code = 250;
    std::string text = "250 2.1.5 ok";
    for (const Rejection& rejection : options_.rejections) {
        if (matches(rejection.pattern, path)) {
            code = rejection.code;
            text = fmt::format("{} {}.1.1 rejected as told", code, code / 100);
            break;
        }
    }
    code = answer(Step::rcpt, code, text, out);
    if (code / 100 == 2) {
        delivery_.recipients.push_back(recipient_sum(path));
    } else {
        refused_ = true;
    }
}

void Receiver::on_data(std::string& out) {
    if (!in_transaction_ || delivery_.recipients.empty() || chunked_) {
        if (!refused_) {
            violation("DATA at the wrong time", "DATA");
        }
        answer(Step::data, 503, "503 5.5.1 not now", out);
        return;
    }
    if (answer(Step::data, 354, "354 go ahead", out) == 354) {
        scanner_.reset(ContentScanner::By::data);
        state_ = State::data;
    } else {
        refused_ = true;
    }
}

void Receiver::on_bdat(std::string_view arguments, std::string& out) {
    const std::string_view whole = arguments;
    std::uint64_t size = 0;
    const std::string_view number = take_word(arguments);
    const bool last = equal_ignoring_case(arguments, "LAST");
    if (!options_.chunking || !parse_size(number, size) || (!arguments.empty() && !last)) {
        violation(options_.chunking ? "malformed BDAT" : "BDAT that was not offered", whole);
        answer(last ? Step::body : Step::bdat, 500, "500 5.5.1 not understood", out);
        state_ = State::over;  // where the chunk ends is not known
        return;
    }
    chunk_valid_ = in_transaction_ && !delivery_.recipients.empty();
    if (!chunk_valid_ && !refused_) {
        violation("BDAT at the wrong time", whole);
    }
    if (!chunked_) {
        scanner_.reset(ContentScanner::By::bdat);
    }
    chunked_ = true;
    chunk_left_ = size;
    chunk_last_ = last;
    state_ = State::chunk;
    if (size == 0) {
        on_chunk_end(out);
    }
}

std::size_t Receiver::consume_data(std::string_view bytes, std::string& out) {
    const std::size_t taken = scanner_.scan(bytes, pieces_);
    for (const std::string_view piece : pieces_) {
        on_content(piece);
    }
    pieces_.clear();
    if (scanner_.ended()) {
        state_ = State::command;
        if (taken < bytes.size() && !options_.pipelining) {
            violation("pipelined where it may not be", bytes.substr(taken));
        }
        finish_message(out);
    }
    return taken;
}

std::size_t Receiver::consume_chunk(std::string_view bytes, std::string& out) {
    const std::size_t taken = std::min<std::uint64_t>(bytes.size(), chunk_left_);
    chunk_left_ -= taken;
    if (chunk_valid_) {
        scanner_.scan(bytes.substr(0, taken), pieces_);
        for (const std::string_view piece : pieces_) {
            on_content(piece);
        }
        pieces_.clear();
    }
    if (chunk_left_ == 0) {
        if (taken < bytes.size() && !options_.pipelining) {
            violation("pipelined where it may not be", bytes.substr(taken));
        }
        on_chunk_end(out);
    }
    return taken;
}

void Receiver::on_chunk_end(std::string& out) {
    state_ = State::command;
    if (!chunk_valid_) {
        answer(chunk_last_ ? Step::body : Step::bdat, 503, "503 5.5.1 not now", out);
    } else if (chunk_last_) {
        finish_message(out);
    } else if (answer(Step::bdat, 250, "250 2.0.0 ok", out) != 250) {
        in_transaction_ = false;
        refused_ = true;
    }
}

void Receiver::on_content(std::string_view bytes) {
    content_size_ += bytes.size();
    if (ledger_.stores()) {
        stored_ += bytes;
    }
    const ReceivedSkipper::Behind behind = skipper_.pass(bytes);
    sum_.append(behind.held);
    sum_.append(behind.rest);
}

void Receiver::check_content() {
    sum_.append(skipper_.finish());
    const std::string_view sender =
        identity_ ? std::string_view("message of ours") : "foreign message";
    if (scanner_.bare_cr() > 0) {
        violation("bare CR in content", sender);
    }
    if (scanner_.bare_lf() > 0) {
        violation("bare LF in content", sender);
    }
    if (scanner_.eight_bit() && !options_.eight_bit_mime) {
        violation("8-bit content without 8BITMIME", sender);
    }
    if (skipper_.skipped() < options_.received_lines) {
        violation("fewer Received: lines in front than told", sender);
    }
    const Sums sums = sum_.finish();
    delivery_.header_changed = identity_ && sums.header != identity_->sums.header;
    delivery_.body_changed = identity_ && sums.body != identity_->sums.body;
}

/// All of a message came: the step that says what became of it.
void Receiver::finish_message(std::string& out) {
    check_content();
    const bool too_large = options_.size_max > 0 && content_size_ > options_.size_max;
    const int code = too_large ? answer(Step::body, 552, "552 5.3.4 too large", out)
                               : answer(Step::body, 250, "250 2.0.0 taken", out);
    if (code / 100 == 2) {
        take_over(true);
    } else if (code == 0 && !too_large) {
        take_over(false);
    }
    reset_transaction();
}

void Receiver::take_over(bool answered) {
    SinkCounters& counters = ledger_.counters;
    if (answered) {
        ++counters.messages;
        counters.octets += content_size_;
        counters.foreign += identity_ ? 0 : 1;
        counters.null_sender += null_sender_ ? 1 : 0;
        counters.header_changed += delivery_.header_changed ? 1 : 0;
        counters.body_changed += delivery_.body_changed ? 1 : 0;
    } else {
        ++counters.unanswered;
    }
    if (ledger_.stores()) {
        ledger_.store(
            identity_ ? fmt::format("{:08x}-{:x}", identity_->run, identity_->number)
                      : std::string("foreign"),
            stored_);
    }
    if (identity_) {
        delivery_.run = identity_->run;
        delivery_.number = identity_->number;
        delivery_.taken_ms = ledger_.now_ms;
        delivery_.answered = answered;
        ledger_.deliveries.append(delivery_);
    }
}

}  // namespace postern::bench
