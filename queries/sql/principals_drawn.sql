-- Some principals of a billing period, drawn by a hash of their names, in the order of tenant and principal: every
-- n-th of them cuts the period into ranges of about as many principals each.
--
-- Parameters:
--   period String        the billing period, YYYY-MM
--   tenant String = ''   only this tenant; empty: all
--   one_in UInt32 = '1'  one of so many is drawn
-- Columns:
--   tenant     who pays
--   principal  who caused it; @unattributed where the event named none
SELECT tenant, principal
FROM usage_by_principal
WHERE billing_period = {period:String}
  AND ({tenant:String} = '' OR tenant = {tenant:String})
  AND cityHash64(tenant, principal) % {one_in:UInt32} = 0
GROUP BY tenant, principal
ORDER BY tenant, principal
