-- How far each lane of any run has made an input durable.
SELECT topic, partition, pass, lane, lanes, max(position) AS position
FROM progress
WHERE topic IN {topics:Array(String)}
GROUP BY topic, partition, pass, lane, lanes
