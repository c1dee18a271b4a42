-- Merge at least 16 parts at once. A merge costs a row more than its insert does; left to itself the engine merges
-- the first handful of parts, and merges the result again and again: ten million rows in blocks of 245 000 took 5.6
-- microseconds of processor each with it, 4.4 so.
ALTER TABLE ledger MODIFY SETTING min_parts_to_merge_at_once = 16;
