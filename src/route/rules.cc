#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "grammar.h"
#include "parsed.h"
#include "words.h"

namespace postern::route {

namespace {

constexpr std::size_t files_max = 65535;
// Offsets into the names are 32 bits, and a name is at most 3.5 times its text (an "ü" as
// "xn--tda").
constexpr std::size_t text_octets_max = std::size_t{1} << 30;

class Parser {
   public:
    Parser(std::span<const Source> sources, const RuleSettings& settings)
        : sources_(sources), settings_(settings) {}

    Parsed parse() {
        std::size_t lines = 0;
        std::size_t octets = 0;
        for (const Source& source : sources_) {
            octets += source.text.size();
        }
        if (sources_.size() > files_max || octets > text_octets_max) {
            parsed_.errors.push_back(fmt::format(
                "{}:1:1: {} rules files with {} octets in all; allowed: {} files, {} octets",
                sources_.front().name,
                sources_.size(),
                octets,
                files_max,
                text_octets_max));
            return std::move(parsed_);
        }
        for (const Source& source : sources_) {
            for (std::size_t at = 0; (at = source.text.find('\n', at)) != std::string_view::npos;
                 ++at) {
                ++lines;
            }
        }
        parsed_.rules.reserve(lines);
        parsed_.names.reserve(octets);
        for (std::size_t i = 0; i < sources_.size(); ++i) {
            parse_file(i);
        }
        if (parsed_.rules.empty() && parsed_.errors.empty()) {
            parsed_.errors.push_back(fmt::format(
                "{}:1:1: no rule in any of the rules files; a rule is PATTERN TARGET [OPTION ...]",
                sources_.empty() ? "rules.files" : sources_.front().name));
        }
        return std::move(parsed_);
    }

   private:
    void parse_file(std::size_t file) {
        file_ = file;
        LineReader lines(sources_[file].text);
        while (lines.next()) {
            line_ = lines.line();
            begin_ = lines.begin();
            line_number_ = lines.number();
            if (lines.fault().empty()) {
                parse_rule(lines.words());
            } else {
                error(lines.fault_at(), lines.fault());
            }
        }
    }

    void parse_rule(const Words& words) {
        const Word& first = words.words[0];
        Fault fault;
        bool good = parse_pattern(word_text(line_, first, memory_), first.quoted, pattern_, fault);
        if (!good) {
            error(first, fault);
        }
        std::uint32_t statement = statement_of(words);
        if (!good || statement == none) {
            return;
        }
        if (!permitted(first, parsed_.statements[statement])) {
            return;
        }
        parsed_.rules.push_back(
            {static_cast<std::uint32_t>(parsed_.names.size()),
             line_number_,
             static_cast<std::uint32_t>(begin_),
             statement,
             static_cast<std::uint16_t>(file_),
             static_cast<std::uint16_t>(pattern_.name.size()),
             static_cast<std::uint8_t>(pattern_.labels),
             pattern_.kind});
        parsed_.names.append(pattern_.name);
    }

    /// What may be sent by whom is stated where a default would be a trap.
    bool permitted(const Word& first, const Statement& statement) {
        bool is_domain = pattern_.kind == Pattern::domain || pattern_.kind == Pattern::exact ||
                         pattern_.kind == Pattern::subdomains;
        if (is_domain && pattern_.labels == 1 &&
            statement.permission == Statement::Permission::unstated) {
            error(
                first.begin,
                "a pattern of a single label must state who may send to it; allowed: always-relay "
                "or restricted");
            return false;
        }
        return true;
    }

    /// The words from the second on as a statement; none: there were errors, and they are told.
    std::uint32_t statement_of(const Words& words) {
        if (words.count < 2) {
            error(line_.size(), "the rule has no target; a rule is PATTERN TARGET [OPTION ...]");
            return none;
        }
        std::string_view text = line_.substr(
            words.words[1].begin, words.words[words.count - 1].end - words.words[1].begin);
        if (text == last_text_) {
            return last_statement_;
        }
        auto known = statements_.find(text);
        std::uint32_t index = known != statements_.end() ? known->second : parse_statement(words);
        if (index != none) {
            if (known == statements_.end()) {
                statements_.emplace(text, index);
            }
            last_text_ = text;
            last_statement_ = index;
        }
        return index;
    }

    std::uint32_t parse_statement(const Words& words) {
        Statement statement;
        StatementContext context{settings_.pools, statement, {}};
        bool good = true;
        for (unsigned i = 1; i < words.count; ++i) {
            Fault fault;
            std::string_view text = word_text(line_, words.words[i], memory_);
            if (!(i == 1 ? parse_target(text, context, fault)
                         : parse_option(text, context, fault))) {
                error(words.words[i], fault);
                good = false;
            }
        }
        if (!good) {
            return none;
        }
        if (statement.as.empty()) {
            statement.target = target_index(context.target);
        }
        parsed_.statements.push_back(std::move(statement));
        return static_cast<std::uint32_t>(parsed_.statements.size() - 1);
    }

    std::uint32_t target_index(const Target& target) {
        std::string key = fmt::format("{} {}", static_cast<int>(target.kind), target.text);
        auto [place, is_new] = targets_.try_emplace(
            std::move(key), static_cast<std::uint32_t>(parsed_.targets.size()));
        if (is_new) {
            parsed_.targets.push_back(target);
        }
        return place->second;
    }

    void error(std::size_t at, std::string_view what) {
        parsed_.errors.push_back(
            fmt::format("{}: {}", place(sources_[file_].name, line_number_, line_, at), what));
    }

    /// Places inside a quoted word are not the line's: it is pointed at as a whole.
    void error(const Word& word, const Fault& fault) {
        error(word.begin + (word.quoted ? 0 : fault.at), fault.what);
    }

    std::span<const Source> sources_;
    const RuleSettings& settings_;
    Parsed parsed_;
    std::unordered_map<std::string_view, std::uint32_t> statements_;  // by their text in a source
    std::unordered_map<std::string, std::uint32_t> targets_;
    std::string_view last_text_;
    std::uint32_t last_statement_ = none;
    std::size_t file_ = 0;
    std::size_t begin_ = 0;  // of the line, in its file
    std::uint32_t line_number_ = 0;
    std::string_view line_;
    ParsedPattern pattern_;
    std::string memory_;
};

}  // namespace

std::string_view line_at(std::string_view text, std::size_t begin) {
    std::string_view line = text.substr(begin, text.find('\n', begin) - begin);
    if (!line.empty() && line.back() == '\r') {
        line.remove_suffix(1);
    }
    return line;
}

std::string place(
    std::string_view file, std::size_t line, std::string_view line_text, std::size_t at) {
    auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
    std::string_view before = line_text.substr(0, at);
    auto column = before.size() -
                  static_cast<std::size_t>(std::count_if(before.begin(), before.end(), continues));
    return fmt::format("{}:{}:{}", file, line, column + 1);
}

Parsed parse(std::span<const Source> sources, const RuleSettings& settings) {
    return Parser(sources, settings).parse();
}

}  // namespace postern::route
