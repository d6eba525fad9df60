#include "move.h"

#include "spool_implementation.h"

namespace postern::spool {

void Mover::begin_round() {
    spool_.segments.round_is_over(spool_.worker);
}

void Mover::go_on() {}

void Mover::on_piece_written(Intake&) {}

void Mover::on_ended() {}

}  // namespace postern::spool
