#pragma once

#include <string>

#include "postern/config/config.h"
#include "values.h"

/// What a configuration says about who may relay, and what could not be meant so. Pure.
namespace postern::config {

/// A [relay] (or what a listener replaces of it, `where` = "listener") that trusts everybody is an
/// open relay: an error, unless that is allowed.
void check_relay(
    const Relay& relay,
    const std::string& where,
    bool open_relay_allowed,
    Place place,
    Findings& findings);

/// Warns of what makes strangers look trusted at this listener, or keeps all from being it.
void check_listener_trust(const Listener& listener, Place place, Findings& findings);

}  // namespace postern::config
