#include "bench/load/report.h"

#include <fmt/format.h>

namespace postern::bench {

using Json = nlohmann::ordered_json;

Json to_json(const AnswerCounts& answers) {
    Json steps = Json::object();
    for (std::size_t s = 0; s < step_names.size(); ++s) {
        for (int code = 0; code <= AnswerCounts::code_max; ++code) {
            const std::uint64_t count = answers.at(static_cast<Step>(s), code);
            if (count > 0) {
                steps[std::string(step_names[s])][std::to_string(code)] = count;
            }
        }
    }
    return steps;
}

Json to_json(const Histogram& latencies) {
    const auto ms = [](double ns) {
        return static_cast<double>(static_cast<std::int64_t>(ns / 1e3)) / 1e3;
    };
    const auto at = [&](double percent) {
        return ms(static_cast<double>(latencies.percentile(percent)));
    };
    return {
        {"count", latencies.count()},
        {"mean", ms(latencies.mean())},
        {"p50", at(50)},
        {"p90", at(90)},
        {"p99", at(99)},
        {"p99.9", at(99.9)},
        {"max", ms(static_cast<double>(latencies.max()))}};
}

Json to_json(const Comparison& c) {
    return {
        {"expected", c.expected},
        {"delivered", c.delivered},
        {"lost", c.lost},
        {"duplicate", c.duplicate},
        {"header_changed", c.header_changed},
        {"body_changed", c.body_changed},
        {"wrong_recipient", c.wrong_recipient},
        {"unexpected", c.unexpected},
        {"refused_delivered", c.refused_delivered},
        {"unknown_delivered", c.unknown_delivered},
        {"unanswered", c.unanswered}};
}

Json to_json(const SinkCounters& c) {
    return {
        {"connections", c.connections},
        {"messages", c.messages},
        {"octets", c.octets},
        {"foreign", c.foreign},
        {"null_sender", c.null_sender},
        {"header_changed", c.header_changed},
        {"body_changed", c.body_changed},
        {"unanswered", c.unanswered}};
}

namespace {

void append_text(const Json& value, const std::string& name, std::string& text) {
    if (value.is_object() || value.is_array()) {
        std::size_t index = 0;
        for (const auto& [key, inner] : value.items()) {
            const std::string part = value.is_array() ? std::to_string(++index) : key;
            append_text(inner, name.empty() ? part : name + " " + part, text);
        }
    } else {
        const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
        text += fmt::format("{:<40} {}\n", name, shown);
    }
}

}  // namespace

std::string to_text(const Json& report) {
    std::string text;
    append_text(report, "", text);
    return text;
}

}  // namespace postern::bench
