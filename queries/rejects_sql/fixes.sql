-- The lines that were mended by hand for a reject, the newest first.
SELECT raw, who, fixed_at FROM reject_fixes WHERE reject = {name:String} ORDER BY fixed_at DESC
