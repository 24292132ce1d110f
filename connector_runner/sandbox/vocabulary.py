"""Codes that the invented population is made of."""

from __future__ import annotations

RACES = (
    ("2106-3", "White", 60),
    ("2054-5", "Black or African American", 16),
    ("2028-9", "Asian", 12),
    ("2131-1", "Other Race", 10),
    ("1002-5", "American Indian or Alaska Native", 2),
)
LANGUAGES = (("en", "English", 78), ("es", "Spanish", 14), ("pt", "Portuguese", 4), ("vi", "Vietnamese", 4))
CONDITIONS = (
    ("59621000", "Essential hypertension (disorder)", True),
    ("44054006", "Diabetes mellitus type 2 (disorder)", True),
    ("195967001", "Asthma (disorder)", True),
    ("55822004", "Hyperlipidemia (disorder)", True),
    ("444814009", "Viral sinusitis (disorder)", False),
    ("195662009", "Acute viral pharyngitis (disorder)", False),
    ("10509002", "Acute bronchitis (disorder)", False),
    ("65363002", "Otitis media (disorder)", False),
    ("162864005", "Body mass index 30+ - obesity (finding)", True),
    ("44465007", "Sprain of ankle (disorder)", False),
)
MEDICATIONS = (
    ("314076", "lisinopril 10 MG Oral Tablet", 1, "d"),
    ("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet", 2, "d"),
    ("617312", "atorvastatin 20 MG Oral Tablet", 1, "d"),
    ("308136", "amlodipine 2.5 MG Oral Tablet", 1, "d"),
    ("745679", "200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", 4, "d"),
    ("308182", "amoxicillin 250 MG Oral Capsule", 3, "d"),
    ("313782", "acetaminophen 325 MG Oral Tablet", 4, "d"),
    ("310965", "ibuprofen 200 MG Oral Tablet", 3, "d"),
)
ALLERGENS = (
    ("91936005", "Allergy to penicillin", "medication", "high"),
    ("91935009", "Allergy to peanut", "food", "high"),
    ("300913006", "Shellfish allergy", "food", "low"),
    ("232350006", "House dust mite allergy", "environment", "low"),
    ("418689008", "Allergy to grass pollen", "environment", "low"),
)
VACCINES = (
    ("140", "Influenza, seasonal, injectable, preservative free"),
    ("115", "Tdap"),
    ("43", "Hep B, adult"),
    ("133", "Pneumococcal conjugate PCV 13"),
    ("121", "zoster live"),
)
PROCEDURES = (
    ("430193006", "Medication reconciliation (procedure)"),
    ("76601001", "Intramuscular injection (procedure)"),
    ("23426006", "Measurement of respiratory function (procedure)"),
    ("274804006", "Evaluation of uterine fundal height (procedure)"),
    ("399208008", "Plain chest X-ray (procedure)"),
)
VISITS = (
    ("185349003", "Encounter for check up (procedure)"),
    ("185345009", "Encounter for symptom (procedure)"),
    ("390906007", "Follow-up encounter (procedure)"),
    ("162673000", "General examination of patient (procedure)"),
)
# code, display, unit, UCUM code, low, high, digits after the point
VITALS = (
    ("8302-2", "Body height", "cm", "cm", 150.0, 195.0, 1),
    ("29463-7", "Body weight", "kg", "kg", 50.0, 115.0, 1),
    ("8867-4", "Heart rate", "/min", "/min", 55.0, 100.0, 0),
    ("8310-5", "Body temperature", "Cel", "Cel", 36.2, 37.9, 1),
    ("9279-1", "Respiratory rate", "/min", "/min", 12.0, 19.0, 0),
)
METABOLIC = (
    ("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", "mg/dL", 65.0, 180.0, 1),
    ("38483-4", "Creatinine [Mass/volume] in Blood", "mg/dL", "mg/dL", 0.5, 1.9, 2),
    ("2947-0", "Sodium [Moles/volume] in Blood", "mmol/L", "mmol/L", 134.0, 146.0, 1),
    ("6298-4", "Potassium [Moles/volume] in Blood", "mmol/L", "mmol/L", 3.4, 5.4, 2),
    ("49765-1", "Calcium [Mass/volume] in Blood", "mg/dL", "mg/dL", 8.3, 10.5, 2),
)
LIPIDS = (
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 140.0, 260.0, 1),
    ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 70.0, 240.0, 1),
    ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 30.0, 85.0, 1),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", "%", 4.6, 9.5, 1),
)
PANELS = (
    ("51990-0", "Basic metabolic panel - Blood", METABOLIC),
    ("57698-3", "Lipid panel with direct LDL - Serum or Plasma", LIPIDS),
)
APPOINTMENT_KINDS = (
    ("ROUTINE", "Routine appointment - default if not valued"),
    ("FOLLOWUP", "A follow up visit from a previous appointment"),
    ("CHECKUP", "A routine check-up, such as an annual physical"),
    ("WALKIN", "A previously unscheduled walk-in visit"),
)
REASONS = ("Annual physical", "Blood pressure check", "Medication review", "Knee pain", "Cough", "Lab results")
