#include "explained.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "postern/shard/mode.h"
#include "postern/shard/standing.h"
#include "postern/smtp/answer.h"
#include "postern/smtp/path.h"

namespace postern::app {
namespace {

struct Asked {
    std::string address;
    bool too_long = false;
};

/// `text` as RCPT would read it: a source route and a trailing dot are dropped. nullopt: it is no
/// address. One that no domain can have comes back as it is, for the explanation to say so.
std::optional<Asked> recipient_of(const std::string& text) {
    const bool bracketed = text.starts_with('<') && text.ends_with('>');
    const std::string path_text = bracketed ? text : "<" + text + ">";
    smtp::Path path;
    smtp::PathError error = smtp::PathError::none;
    const std::size_t taken = smtp::parse_path(path_text, smtp::PathKind::forward, path, error);
    if (taken == path_text.size()) {
        return Asked{std::string(path.address)};
    }
    if (error == smtp::PathError::domain || error == smtp::PathError::too_long) {
        return Asked{
            bracketed ? text.substr(1, text.size() - 2) : text, error == smtp::PathError::too_long};
    }
    return std::nullopt;
}

std::string no_address(const std::string& text) {
    return fmt::format("'{}' is no address; allowed: user@domain, or postmaster", text);
}

std::optional<route::DeliveryMode> delivery_of(
    const shard::Snapshot& snapshot, const route::Match& match) {
    using By = route::DeliveryMode::By;
    if (!match.found()) {
        return std::nullopt;
    }
    const route::Action& action = snapshot.table->action(match.action);
    if (shard::pool_name_of(snapshot.table->targets()[action.target]).empty()) {
        return std::nullopt;
    }
    const config::Config& config = snapshot.config;
    const auto own = shard::own_mode(snapshot.pool_config(action.target));
    route::DeliveryMode delivery;
    delivery.mode = shard::mode_of(action.delivery, own, config.delivery.mode);
    delivery.by = action.delivery ? By::rule : own ? By::pool : By::general;
    for (const config::Listener& listener : config.listeners) {
        const mail::Mode mode = shard::mode_of(action.delivery, own, listener.delivery.mode);
        if (mode != delivery.mode) {
            delivery.listeners.emplace_back(listener.name, mode);
        }
    }
    return delivery;
}

}  // namespace

std::vector<std::string> take_out_wrong(std::vector<std::string>& addresses) {
    std::vector<std::string> sentences;
    std::erase_if(addresses, [&](const std::string& text) {
        const bool wrong = !recipient_of(text);
        if (wrong) {
            sentences.push_back(no_address(text));
        }
        return wrong;
    });
    return sentences;
}

base::Result<std::vector<route::Explanation>> explain(
    const shard::Snapshot& snapshot,
    const std::vector<std::string>& addresses,
    const std::string& from) {
    std::optional<route::From> client;
    if (!from.empty()) {
        const auto address = base::IpAddress::parse(from);
        if (!address) {
            return base::Error{
                fmt::format("--from {} is no IP address; allowed: 192.0.2.1 or 2001:db8::1", from)};
        }
        // A client may come by any listener: it is trusted where every one trusts it.
        const auto& listeners = snapshot.config.listeners;
        const auto by_all = [&](auto says) {
            return std::all_of(
                listeners.begin(), listeners.end(), [&](const config::Listener& listener) {
                    mail::Client judged;
                    shard::judge(judged, listener, *address);
                    return says(judged);
                });
        };
        client = {
            .address = address->text(),
            .trusted = by_all([](const mail::Client& judged) { return judged.trusted; }),
            .proxy = by_all([](const mail::Client& judged) { return judged.proxy; })};
    }
    std::vector<route::Explanation> explanations;
    for (const std::string& text : addresses) {
        const std::optional<Asked> asked = recipient_of(text);
        if (!asked) {
            return base::Error{no_address(text)};
        }
        if (asked->too_long) {
            route::Explanation& explanation = explanations.emplace_back();
            explanation.address = asked->address;
            explanation.impossible =
                fmt::format("the local part is longer than {} octets", smtp::local_part_size_max);
            explanation.answer = "501 5.1.3";
            continue;
        }
        explanations.push_back(
            route::explain(*snapshot.table, snapshot.relaying.front(), asked->address, client));
        explanations.back().delivery = delivery_of(snapshot, explanations.back().match);
        if (client && client->proxy) {
            explanations.back().answer =
                route::to_text(smtp::answer_row(smtp::Answer::health_check).reply);
        }
    }
    return explanations;
}

std::string pool_of(const route::Explanation& explanation, const route::Table& table) {
    if (!explanation.match.found()) {
        return {};
    }
    return shard::pool_name_of(table.targets()[table.action(explanation.match.action).target]);
}

}  // namespace postern::app
