#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "postern/names/answer.h"
#include "postern/relay/relay.h"

/// What the names in a pool's definition stand for. Pure; any thread.
namespace postern::shard {

/// What is known of names; one that is not in it has not been answered yet.
using Answers = std::map<names::Question, std::shared_ptr<const names::Answer>>;

/// What relay::Relay::set_hosts is told.
struct PoolAddresses {
    std::vector<relay::HostAddress> hosts;
    relay::Absence absence = relay::Absence::unresolved;  // why there are none
};

/// What is to be asked, each once. Empty: the pool names its hosts by address alone.
std::vector<names::Question> questions_of(const relay::PoolSettings& pool);

/// Its hosts, as far as they are known: those of MX records by preference, those that are ourselves
/// and worse ones left out (RFC 5321, section 5.1); each backup behind those before it.
PoolAddresses addresses_of(
    const relay::PoolSettings& pool, const Answers& answers, const names::Ourselves& ourselves);

}  // namespace postern::shard
