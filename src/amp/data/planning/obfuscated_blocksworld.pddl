; Randomised Mystery Blocksworld of PlanBench: Blocksworld in random letters.
; af9tse23ljclsqad is on the table, tv30k33pzoulql6w is clear, b6e9q4r60gagvdcn is on,
; cql4o62p1yeke3ok is an empty hand, a46zhwykn6jvbabk is held.
(define (domain obfuscated_blocksworld)
  (:requirements :strips)
  (:predicates (af9tse23ljclsqad ?x) (tv30k33pzoulql6w ?x) (cql4o62p1yeke3ok)
               (a46zhwykn6jvbabk ?x) (b6e9q4r60gagvdcn ?x ?y))
  (:action u64y1a9apusmslxb
    :parameters (?x)
    :precondition (and (tv30k33pzoulql6w ?x) (af9tse23ljclsqad ?x) (cql4o62p1yeke3ok))
    :effect (and (a46zhwykn6jvbabk ?x) (not (tv30k33pzoulql6w ?x)) (not (af9tse23ljclsqad ?x))
                 (not (cql4o62p1yeke3ok))))
  (:action kip9uw781pv62umn
    :parameters (?x)
    :precondition (a46zhwykn6jvbabk ?x)
    :effect (and (tv30k33pzoulql6w ?x) (af9tse23ljclsqad ?x) (cql4o62p1yeke3ok)
                 (not (a46zhwykn6jvbabk ?x))))
  (:action j4gv801gnu2it0yj
    :parameters (?x ?y)
    :precondition (and (a46zhwykn6jvbabk ?x) (tv30k33pzoulql6w ?y))
    :effect (and (b6e9q4r60gagvdcn ?x ?y) (tv30k33pzoulql6w ?x) (cql4o62p1yeke3ok)
                 (not (a46zhwykn6jvbabk ?x)) (not (tv30k33pzoulql6w ?y))))
  (:action wio5amhq7814n006
    :parameters (?x ?y)
    :precondition (and (b6e9q4r60gagvdcn ?x ?y) (tv30k33pzoulql6w ?x) (cql4o62p1yeke3ok))
    :effect (and (a46zhwykn6jvbabk ?x) (tv30k33pzoulql6w ?y) (not (b6e9q4r60gagvdcn ?x ?y))
                 (not (tv30k33pzoulql6w ?x)) (not (cql4o62p1yeke3ok)))))
