#include "bench/load/faults.h"

#include <fmt/format.h>

#include <charconv>

#include "bench/load/messages.h"

namespace postern::bench {

namespace {

template <class Number>
bool parse_number(std::string_view text, Number& number) {
    const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && stopped == text.data() + text.size();
}

std::string_view take_field(std::string_view& text) {
    const std::size_t colon = text.find(':');
    const std::string_view field = text.substr(0, colon);
    text.remove_prefix(colon == std::string_view::npos ? text.size() : colon + 1);
    return field;
}

bool is_reply_code(int code) {
    return code >= 200 && code <= AnswerCounts::code_max;
}

/// The step in front and the probability behind what `take` makes of the field between them.
template <class Take>
bool parse_fault(std::string_view text, Fault& fault, Take take) {
    const auto step = step_named(take_field(text));
    const std::string_view what = take_field(text);
    if (!step || *step == Step::other || !take(what)) {
        return false;
    }
    fault.step = *step;
    return text.empty() || (parse_number(text, fault.probability) && fault.probability >= 0 &&
                            fault.probability <= 1);
}

}  // namespace

base::Result<Fault> parse_failure(std::string_view text) {
    Fault fault;
    const bool good = parse_fault(text, fault, [&fault](std::string_view what) {
        if (what == "close" || what == "silent") {
            fault.kind = what == "close" ? Fault::Kind::close : Fault::Kind::silent;
            return true;
        }
        return parse_number(what, fault.code) && is_reply_code(fault.code);
    });
    if (!good) {
        return base::Error{fmt::format(
            "'{}' is no failure: STEP:CODE, STEP:close or STEP:silent, with :PROBABILITY behind it "
            "if wanted; steps are greeting ehlo starttls mail rcpt data bdat body rset quit",
            text)};
    }
    return fault;
}

base::Result<Fault> parse_delay(std::string_view text) {
    Fault fault;
    fault.kind = Fault::Kind::delay;
    const bool good = parse_fault(text, fault, [&fault](std::string_view what) {
        unsigned ms = 0;
        const bool number = parse_number(what, ms);
        fault.delay = std::chrono::milliseconds(ms);
        return number;
    });
    if (!good) {
        return base::Error{fmt::format(
            "'{}' is no delay: STEP:MILLISECONDS, with :PROBABILITY behind it if wanted", text)};
    }
    return fault;
}

base::Result<Rejection> parse_rejection(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    Rejection rejection;
    if (colon == std::string_view::npos || colon == 0 ||
        !parse_number(text.substr(colon + 1), rejection.code) || !is_reply_code(rejection.code)) {
        return base::Error{fmt::format("'{}' is no rejection: PATTERN:CODE", text)};
    }
    rejection.pattern = text.substr(0, colon);
    return rejection;
}

bool matches(std::string_view pattern, std::string_view text) {
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = std::string_view::npos;
    std::size_t resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

Misbehaviour choose(const std::vector<Fault>& faults, Step step, std::uint64_t& random_state) {
    Misbehaviour chosen;
    for (const Fault& fault : faults) {
        if (fault.step != step) {
            continue;
        }
        const bool happens = chance(random_state) < fault.probability;
        if (happens && fault.kind == Fault::Kind::delay) {
            chosen.delay = fault.delay;
        } else if (happens && !chosen.fault) {
            chosen.fault = fault;
        }
    }
    return chosen;
}

}  // namespace postern::bench
