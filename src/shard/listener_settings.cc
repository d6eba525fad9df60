#include "listener_settings.h"

namespace postern::shard {

// The choices stand in the same order in both.
static_assert(
    static_cast<int>(config::ListenerTls::none) == static_cast<int>(inbound::Tls::none) &&
    static_cast<int>(config::ListenerTls::implicit) == static_cast<int>(inbound::Tls::implicit));

inbound::ListenerSettings settings_of(
    const config::Listener& listener, const Snapshot& snapshot, std::uint32_t worker) {
    const config::Config& config = snapshot.config;
    inbound::ListenerSettings settings;
    settings.name = listener.name;
    settings.hostname = config.hostname;
    settings.reject_bare_newline = listener.bare_newline == config::BareNewline::reject;
    settings.ehlo_hide = listener.ehlo_hide;
    settings.message_size_max = listener.limits.message_size.octets;
    settings.recipients_max = listener.limits.recipients;
    settings.errors_max = listener.limits.errors;
    settings.received_max = listener.limits.received_max;
    settings.xclient = !listener.xclient_networks.empty();
    settings.xforward = !listener.xforward_networks.empty();
    settings.greeting_pause = listener.greeting_pause;
    settings.octets_counted = listener.limits.byte_rate.octets != 0;
    settings.has_passwords = !listener.auth_file.empty();
    settings.command_timeout = config.timeouts.command;
    settings.data_timeout = config.timeouts.data;
    settings.tls = static_cast<inbound::Tls>(listener.tls);
    if (settings.tls != inbound::Tls::none) {
        settings.tls_context = snapshot.tls_contexts[worker];
    }
    return settings;
}

relay::Timeouts timeouts_of(const config::Config& config) {
    return {
        config.timeouts.connect,
        config.timeouts.reply,
        config.timeouts.busy,
        config.timeouts.data_done};
}

}  // namespace postern::shard
