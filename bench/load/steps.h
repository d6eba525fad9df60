#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

/// The steps of an SMTP dialogue that have an answer, and how often each answer was seen at each.
namespace postern::bench {

enum class Step : std::uint8_t {
    greeting,
    ehlo,
    starttls,
    mail,
    rcpt,
    data,
    bdat,
    body,
    rset,
    quit,
    other
};

// `bdat` is the answer to a chunk that is not the last; `body` the one that says what became of the
// message.
inline constexpr std::array<std::string_view, 11> step_names = {
    "greeting",
    "ehlo",
    "starttls",
    "mail",
    "rcpt",
    "data",
    "bdat",
    "body",
    "rset",
    "quit",
    "other"};

inline std::string_view name_of(Step step) {
    return step_names[static_cast<std::size_t>(step)];
}

inline std::optional<Step> step_named(std::string_view name) {
    for (std::size_t i = 0; i < step_names.size(); ++i) {
        if (step_names[i] == name) {
            return static_cast<Step>(i);
        }
    }
    return std::nullopt;
}

class AnswerCounts {
   public:
    static constexpr int code_max = 599;

    /// REQUIRES: 0 <= code <= code_max.
    void count(Step step, int code) {
        ++counts_[static_cast<std::size_t>(step)][static_cast<std::size_t>(code)];
    }

    std::uint64_t at(Step step, int code) const {
        return counts_[static_cast<std::size_t>(step)][static_cast<std::size_t>(code)];
    }

    void add(const AnswerCounts& other) {
        for (std::size_t s = 0; s < counts_.size(); ++s) {
            for (std::size_t c = 0; c < counts_[s].size(); ++c) {
                counts_[s][c] += other.counts_[s][c];
            }
        }
    }

   private:
    std::array<std::array<std::uint64_t, code_max + 1>, step_names.size()> counts_{};
};

}  // namespace postern::bench
