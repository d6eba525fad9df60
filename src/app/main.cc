#include <csignal>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "postern/config/parse.h"

/// The command line of product.md, section 6. Each command stands in a file of its own.
int main(int argc, char** argv) {
    std::signal(
        SIGPIPE,
        SIG_IGN);  // NOLINT: a pipe that is gone is an error of write, here and in all threads

    CLI::App app{"Postern, the gate in front of a mail cluster: an SMTP gateway."};
    app.require_subcommand(1);
    app.set_version_flag("--version", "postern " POSTERN_VERSION);
    app.footer(
        "Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong, or nobody answers.");

    std::string file = "/etc/postern/postern.toml";
    const auto add_file = [&file](CLI::App* command) {
        command->add_option("-c,--config", file, "configuration file")
            ->capture_default_str()
            ->type_name("FILE");
    };

    CLI::App* run = app.add_subcommand("run", "serves, in the foreground, until SIGTERM");
    add_file(run);

    postern::app::CheckOptions check_options;
    CLI::App* check = app.add_subcommand(
        "check", "validates configuration and rules; exit code 1 and a line for every error");
    add_file(check);
    check->add_flag(
        "--connect",
        check_options.connect,
        "also asks every smart host for its greeting; one that does not answer is a warning");
    std::vector<std::string> postfix_files;
    check
        ->add_option(
            "--from-postfix",
            postfix_files,
            "instead prints the rules that equal a Postfix transport map (its source text); with "
            "the file of relay_domains beside it, who may send is as there, too")
        ->type_name("FILE");

    postern::app::RouteOptions route_options;
    CLI::App* route =
        app.add_subcommand("route", "explains where mail for an address goes, and why");
    add_file(route);
    route->add_option("address", route_options.addresses, "recipients: user@domain, or postmaster")
        ->required()
        ->type_name("ADDRESS");
    route->add_option("--from", route_options.from, "decides for a client of this IP address")
        ->type_name("CLIENT-ADDRESS");
    route->add_flag("--json", route_options.json, "as JSON");
    CLI::Option* live = route->add_flag(
        "--live",
        route_options.live,
        "asks the running Postern: its generation, its rules, its hosts' health");
    route
        ->add_option(
            "--admin",
            route_options.admin,
            "with --live: its admin address, unix:PATH or ADDRESS:PORT; default: that of FILE")
        ->needs(live)
        ->type_name("ADDRESS");

    postern::app::ReloadCommand reload_command;
    CLI::App* reload = app.add_subcommand(
        "reload",
        "makes the running Postern read configuration and rules again, and says what that changes; "
        "exit code 1: refused, what was in force stays");
    add_file(reload);
    reload->add_flag(
        "--dry-run", reload_command.dry_run, "says what would change, and changes nothing");
    reload->add_flag(
        "--force", reload_command.force, "also where more rules are gone than rules.shrink_max");
    reload
        ->add_option(
            "--admin",
            reload_command.admin,
            "its admin address, unix:PATH or ADDRESS:PORT; default: that of FILE")
        ->type_name("ADDRESS");

    CLI::App* reference = app.add_subcommand(
        "reference", "prints all configuration keys, with their defaults and ranges");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    if (run->parsed()) {
        return postern::app::run(file);
    }
    if (check->parsed() && !postfix_files.empty()) {
        return postern::app::check_from_postfix(postfix_files);
    }
    if (check->parsed()) {
        return postern::app::check(file, check_options);
    }
    if (route->parsed()) {
        return postern::app::route(file, route_options);
    }
    if (reload->parsed()) {
        return postern::app::reload(file, reload_command);
    }
    POSTERN_ASSERT(reference->parsed(), "one command is given");
    std::fputs(postern::config::reference().c_str(), stdout);
    return 0;
}
