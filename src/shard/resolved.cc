#include "postern/shard/resolved.h"

#include <algorithm>

namespace postern::shard {
namespace {

names::Question question_of(const relay::HostSettings& host) {
    return {host.mx ? names::Question::Kind::mx : names::Question::Kind::address, host.name};
}

/// Why a name without an address has none, the one that most hinges on first: while something is
/// pending all may come right, and a "no" for good holds only where every name says it.
int weight(relay::Absence absence) {
    switch (absence) {
        case relay::Absence::pending:
            return 3;
        case relay::Absence::unresolved:
            return 2;
        case relay::Absence::null_mx:
        case relay::Absence::own_mx:
            break;
    }
    return 1;
}

relay::Absence absence_of(names::Answer::Kind kind) {
    switch (kind) {
        case names::Answer::Kind::null_mx:
            return relay::Absence::null_mx;
        case names::Answer::Kind::ourselves:
            return relay::Absence::own_mx;
        case names::Answer::Kind::hosts:
        case names::Answer::Kind::no_such_name:
        case names::Answer::Kind::no_addresses:
        case names::Answer::Kind::failed:
            break;
    }
    return relay::Absence::unresolved;
}

/// Adds the addresses of a name's hosts. Those of one preference share the mail; each worse one is
/// a level behind.
void add_hosts(
    const relay::HostSettings& named, const names::Answer& answer, PoolAddresses& addresses) {
    std::uint32_t level = named.level;
    for (std::size_t i = 0; i < answer.hosts.size(); ++i) {
        const names::Host& host = answer.hosts[i];
        level += i > 0 && host.preference != answer.hosts[i - 1].preference ? 1 : 0;
        for (const base::IpAddress& address : host.addresses) {
            addresses.hosts.push_back(
                {*io::Address::parse(address.text(), named.port), host.name, level});
        }
    }
}

}  // namespace

std::vector<names::Question> questions_of(const relay::PoolSettings& pool) {
    std::vector<names::Question> questions;
    for (const relay::HostSettings& host : pool.hosts) {
        if (host.name.empty()) {
            continue;
        }
        names::Question question = question_of(host);
        if (std::find(questions.begin(), questions.end(), question) == questions.end()) {
            questions.push_back(std::move(question));
        }
    }
    return questions;
}

PoolAddresses addresses_of(
    const relay::PoolSettings& pool, const Answers& answers, const names::Ourselves& ourselves) {
    PoolAddresses addresses;
    int heaviest = 0;
    for (const relay::HostSettings& host : pool.hosts) {
        if (host.name.empty()) {
            addresses.hosts.push_back({host.address, {}, host.level});
            continue;
        }
        relay::Absence absence = relay::Absence::pending;
        if (const auto found = answers.find(question_of(host)); found != answers.end()) {
            const names::Answer answer =
                host.mx ? names::without_ourselves(*found->second, host.port, ourselves)
                        : *found->second;
            add_hosts(host, answer, addresses);
            absence = absence_of(answer.kind);
        }
        if (weight(absence) > heaviest) {
            heaviest = weight(absence);
            addresses.absence = absence;
        }
    }
    return addresses;
}

}  // namespace postern::shard
